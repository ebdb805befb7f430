//! Runs Podman with all its files in one folder, so that it neither uses nor changes the host's images and containers.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use pxe_kit::command::{output, workspace};

/// The base image of the recipe.
const BASE: &str = "localhost/base";
/// The image that the recipe builds.
pub const IMAGE: &str = "localhost/pxed";
/// The name of the container.
pub const CONTAINER: &str = "pxed";

/// Podman with its own store. Dropping it ends the container. The store stays in the folder.
#[derive(Debug)]
pub struct Podman {
    folder: PathBuf,
}

impl Podman {
    /// Uses `folder` for the store.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// A podman command with the options for the store.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut podman = Command::new("podman");
        // vfs copies layers. Overlays would fail if the folder is itself on an overlay.
        podman.args(["--storage-driver", "vfs", "--runtime", "runc", "--cgroup-manager", "cgroupfs"]);
        podman.args(["--log-level", "error", "--events-backend", "none"]);
        for (option, name) in [("--root", "store"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            podman.arg(option).arg(self.folder.join(name));
        }
        podman
    }

    /// Builds [`IMAGE`] by `packaging/Containerfile`, from a system in a tar file and the packages in `context`.
    ///
    /// # Errors
    /// If podman fails, or Debian's archive is not reachable.
    pub fn build(&self, base: &Path, context: &Path) -> Result<()> {
        output(self.command().arg("import").arg(base).arg(BASE))?;
        let mut build = self.command();
        // Without intermediate images, because with vfs each of them is a full copy.
        build.args(["build", "--isolation", "chroot", "--network", "host", "--layers=false", "--tag", IMAGE]);
        build.args(["--build-arg", &format!("BASE={BASE}"), "--file"]);
        output(build.arg(workspace().join("packaging/Containerfile")).arg(context)).map(drop)
    }

    /// Runs a program in the container, and returns its output.
    ///
    /// # Errors
    /// If it fails. The error contains its standard error.
    pub fn exec(&self, words: &[&str]) -> Result<Vec<u8>> {
        let out = self.command().args(["exec", CONTAINER]).args(words).output()?;
        anyhow::ensure!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
        Ok(out.stdout)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Usually the container has already ended, so errors do not matter.
        drop(self.command().args(["rm", "--force", "--ignore", "--time", "1", CONTAINER]).output());
    }
}
