//! The clock of tests and tools. No other file of these crates reads the time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// The current time.
#[expect(
    clippy::disallowed_methods,
    reason = "tests and tasks drive real programs; this is their only clock"
)]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Checks a condition ten times a second until it holds. `limit` only ends a wait that would never end. Keep it generous:
/// it must not become an assertion of a time.
///
/// # Errors
/// If the check fails, or `limit` passes.
pub fn wait_until(what: &str, limit: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = now();
    while !is_so()? {
        ensure!(start.elapsed() < limit, "{what}: not after {} s", limit.as_secs());
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
