//! Network namespaces for single threads of tests.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Moves the calling thread into a new network namespace with a running loopback interface, and mounts its /sys, as
/// `ip netns exec` does.
///
/// The namespace disappears with the thread. Processes that the thread starts are in the same namespace.
///
/// # Errors
/// If this process is not root.
#[expect(unsafe_code, reason = "rustix marks unshare so, since some of its flags pull memory or files apart")]
pub fn enter_new() -> Result<()> {
    // SAFETY: files and memory stay shared. Only the network, the mounts and the working directory are separate.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::FS) }
        .context("a new network namespace needs root")?;
    let private = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", private).context("cannot keep mounts to ourselves")?;
    mount("sysfs", "/sys", "sysfs", MountFlags::empty(), None).context("cannot mount /sys")?;
    let status = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    ensure!(status.success(), "ip link set lo up failed");
    Ok(())
}

/// Moves the calling thread into the network namespace that `ip netns` lists as `name`.
///
/// # Errors
/// If this process is not root, or there is no such namespace.
pub fn enter(name: &str) -> Result<()> {
    let path = std::path::Path::new("/run/netns").join(name);
    let namespace = std::fs::File::open(&path).with_context(|| format!("no namespace {}", path.display()))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).context("setns")?;
    Ok(())
}
