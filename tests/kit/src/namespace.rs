//! A network namespace of its own for one test's thread.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Moves the calling thread into a new network namespace whose loopback interface is up, with a /sys of its own, as
/// `ip netns exec` does.
///
/// The namespaces go with the thread; processes that the thread starts are in them, too.
///
/// # Errors
/// Without root.
#[expect(unsafe_code, reason = "rustix marks unshare so, since some of its flags pull memory or files apart")]
pub fn enter_new() -> Result<()> {
    // SAFETY: files and memory stay shared; the working directory and the mounts of this thread become its own.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::FS) }
        .context("a new network namespace needs root")?;
    let private = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", private).context("cannot keep mounts to ourselves")?;
    mount("sysfs", "/sys", "sysfs", MountFlags::empty(), None).context("cannot mount /sys")?;
    let status = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    ensure!(status.success(), "ip link set lo up failed");
    Ok(())
}

/// Moves the calling thread into a network namespace by its name, as `ip netns` has it.
///
/// # Errors
/// Without root, or when there is none of that name.
pub fn enter(name: &str) -> Result<()> {
    let path = std::path::Path::new("/run/netns").join(name);
    let namespace = std::fs::File::open(&path).with_context(|| format!("no namespace {}", path.display()))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).context("setns")?;
    Ok(())
}
