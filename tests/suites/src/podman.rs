//! Containers with everything that belongs to them in one folder: nothing of the host's is seen or changed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use pxe_kit::command::{output, workspace};

/// What the recipe starts from, and what it makes.
const BASE: &str = "localhost/base";
/// The image.
pub const IMAGE: &str = "localhost/pxed";
/// The container.
pub const CONTAINER: &str = "pxed";

/// Podman with a store of its own. Dropping it ends the container; the store lies in the folder.
#[derive(Debug)]
pub struct Podman {
    folder: PathBuf,
}

impl Podman {
    /// With its store in `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// A command line of podman's.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut podman = Command::new("podman");
        // Copies in place of overlays, since the folder may lie on one.
        podman.args(["--storage-driver", "vfs", "--runtime", "runc", "--cgroup-manager", "cgroupfs"]);
        podman.args(["--log-level", "error", "--events-backend", "none"]);
        for (option, name) in [("--root", "store"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            podman.arg(option).arg(self.folder.join(name));
        }
        podman
    }

    /// Builds [`IMAGE`] by `packaging/Containerfile` from a system in a tar file and the packages in `context`.
    ///
    /// # Errors
    /// When podman fails, or Debian's archive cannot be reached.
    pub fn build(&self, base: &Path, context: &Path) -> Result<()> {
        output(self.command().arg("import").arg(base).arg(BASE))?;
        let mut build = self.command();
        // Without intermediate images, each of which would be a copy of everything.
        build.args(["build", "--isolation", "chroot", "--network", "host", "--layers=false", "--tag", IMAGE]);
        build.args(["--build-arg", &format!("BASE={BASE}"), "--file"]);
        output(build.arg(workspace().join("packaging/Containerfile")).arg(context)).map(drop)
    }

    /// What a program prints in the running container.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub fn exec(&self, words: &[&str]) -> Result<Vec<u8>> {
        let out = self.command().args(["exec", CONTAINER]).args(words).output()?;
        anyhow::ensure!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
        Ok(out.stdout)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Usually it is gone already; without a container there is nothing to say.
        drop(self.command().args(["rm", "--force", "--ignore", "--time", "1", CONTAINER]).output());
    }
}
