//! Clean Debian systems in folders: what is tried there meets a stranger's machine and not this one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use pxe_guests::fetch_root;
use pxe_kit::command::output;

/// Mounts what every system has, and starts a program in it. The mounts go with the name space, so with the last process. The
/// root itself is a mount, too: `ip netns exec` changes how its mounts are shared, which only a mount can tell.
const ENTER: &str = "set -e; root=$0; mount --bind \"$root\" \"$root\"; cd \"$root\"; \
    mount -t proc proc \"$root/proc\"; mount -t sysfs sysfs \"$root/sys\"; mount --rbind /dev \"$root/dev\"; \
    mount -t bpf bpf \"$root/sys/fs/bpf\"; mount -t tmpfs tmpfs \"$root/run\"; \
    exec chroot \"$root\" \"$@\"";

/// A system, as long as its folder is there.
pub struct Root {
    folder: PathBuf,
}

impl Root {
    /// Unpacks a system of this suite into a new folder in `folder`.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn unpack(suite: &'static str, folder: &Path) -> Result<Self> {
        let root = folder.join(suite);
        fs::create_dir(&root).with_context(|| format!("cannot make {}", root.display()))?;
        let mut tar = Command::new("tar");
        tar.arg("--extract").arg("--file").arg(fetch_root(suite)?).arg("--directory").arg(&root);
        output(&mut tar)?;
        // Names are looked up as here.
        fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf")).context("cannot copy resolv.conf")?;
        Ok(Self { folder: root })
    }

    /// A path in the system, seen from outside.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.join(inside.trim_start_matches('/'))
    }

    /// A program in the system, as root. It ends with us.
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

    /// What a program in the system prints.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        output(&mut self.command(words))
    }
}
