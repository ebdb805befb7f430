//! A network namespace of its own for one test's thread.

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves the calling thread into a new network namespace whose loopback interface is up.
///
/// The namespace goes with the thread; processes that the thread starts are in it, too.
///
/// # Errors
/// Without root.
#[expect(unsafe_code, reason = "rustix marks unshare so, since some of its flags pull memory or files apart")]
pub fn enter_new() -> Result<()> {
    // SAFETY: only the network namespace is changed, and only this thread's.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("a new network namespace needs root")?;
    let status = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    ensure!(status.success(), "ip link set lo up failed");
    Ok(())
}
