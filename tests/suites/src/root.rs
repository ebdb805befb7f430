//! Clean Debian systems in folders, for tests of what happens on a new machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use pxe_guests::fetch_root;
use pxe_kit::command::output;

/// A script that mounts the usual file systems, and starts a program in the system. The mounts disappear with the mount
/// namespace, that is, with the last process. The root must be a mount, because `ip netns exec` changes the propagation
/// of `/`.
const ENTER: &str = "set -e; root=$0; mount --bind \"$root\" \"$root\"; cd \"$root\"; \
    mount -t proc proc \"$root/proc\"; mount -t sysfs sysfs \"$root/sys\"; mount --rbind /dev \"$root/dev\"; \
    mount -t bpf bpf \"$root/sys/fs/bpf\"; mount -t tmpfs tmpfs \"$root/run\"; \
    exec chroot \"$root\" \"$@\"";

/// A Debian system in a folder.
pub struct Root {
    folder: PathBuf,
}

impl Root {
    /// Unpacks a system of this suite into a new folder in `folder`.
    ///
    /// # Errors
    /// If the system cannot be made or unpacked.
    pub fn unpack(suite: &'static str, folder: &Path) -> Result<Self> {
        let root = folder.join(suite);
        fs::create_dir(&root).with_context(|| format!("cannot make {}", root.display()))?;
        let mut tar = Command::new("tar");
        tar.arg("--extract").arg("--file").arg(fetch_root(suite)?).arg("--directory").arg(&root);
        output(&mut tar)?;
        // Use this host's name servers.
        fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf")).context("cannot copy resolv.conf")?;
        Ok(Self { folder: root })
    }

    /// The path of a file of the system, as seen from outside.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.join(inside.trim_start_matches('/'))
    }

    /// A command that runs as root in the system, and ends with this process.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER]).arg(&self.folder);
        command.args(words).env_clear().envs([
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("LC_ALL", "C.UTF-8"),
            ("DEBIAN_FRONTEND", "noninteractive"),
        ]);
        command
    }

    /// Runs a program in the system, and returns its output.
    ///
    /// # Errors
    /// If it fails. The error contains its standard error.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        output(&mut self.command(words))
    }
}
