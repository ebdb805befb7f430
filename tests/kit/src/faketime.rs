//! Programs with another clock than this host's, by the library libfaketime. The kernel has no namespace for the time of day.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::command;

/// The variables with which a program that uses libc sees the time of day this many seconds ahead (or behind, if
/// negative). Its other clocks are the host's.
///
/// # Errors
/// If libfaketime is not installed.
pub fn ahead(seconds: i32) -> Result<Vec<(&'static str, String)>> {
    // The library's folder differs between distributions. The program `faketime` knows it.
    let mut faketime = Command::new("faketime");
    faketime.args(["-f", "+0s", "printenv", "LD_PRELOAD"]);
    let library = command::output(&mut faketime)
        .context("a clock of one's own needs faketime: `cargo xtask setup` installs it")?;
    let library = library.trim();
    ensure!(library.contains("libfaketime"), "faketime preloads `{library}` and not its library");
    Ok(vec![
        ("LD_PRELOAD", library.to_owned()),
        ("FAKETIME", format!("{seconds:+}s")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        // Its name before version 0.9.9.
        ("DONT_FAKE_MONOTONIC", "1".into()),
        ("NO_FAKE_STAT", "1".into()),
    ])
}
