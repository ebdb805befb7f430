//! Controls the service through systemd, and reads its state.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pxe_kit::clock;
use pxe_kit::command::output;

/// The path of the package in the guest.
pub(crate) const PACKAGE: &str = "/cases/pxed.deb";
/// The limit for all waits. Generous, because the guest is emulated.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Runs `systemctl` with these words.
pub(crate) fn systemctl(words: &str) -> Result<String> {
    output(Command::new("systemctl").args(words.split(' ')))
}

/// The value of a property of the unit.
pub(crate) fn property(name: &str) -> Result<String> {
    let value = systemctl(&format!("show pxed --value --property {name}"))?;
    Ok(value.trim().to_owned())
}

/// The service's log since the boot of the guest.
pub(crate) fn journal() -> Result<String> {
    output(Command::new("journalctl").args(["--unit", "pxed", "--no-pager", "--output", "cat"]))
}

/// Calls `systemctl start` or `restart`, which return when the daemon is ready.
pub(crate) fn begin(word: &str) -> Result<()> {
    systemctl(&format!("{word} pxed")).with_context(|| journal().unwrap_or_default()).map(drop)
}

/// Waits until another process than `before` is ready.
pub(crate) fn wait_for_another(before: u32) -> Result<()> {
    // `main_pid` fails between the two processes. Keep waiting.
    let is_other = || Ok(property("ActiveState")? == "active" && main_pid().is_ok_and(|pid| pid != before));
    clock::wait_until("another process", LIMIT, is_other).with_context(|| journal().unwrap_or_default())
}

/// The process ID of the running daemon.
pub(crate) fn main_pid() -> Result<u32> {
    let pid: u32 = property("MainPID")?.parse()?;
    ensure!(pid != 0, "the service does not run: {}", journal()?);
    Ok(pid)
}

/// The lines of `/proc/PID/status`, by key.
pub(crate) fn status(pid: u32) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    Ok(lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect())
}
