//! The one place here that reads the clock.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// The present moment.
#[expect(
    clippy::disallowed_methods,
    reason = "tests and tasks drive real programs; this is their only clock"
)]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits until something is so, looking ten times a second. The limit is for what will never be so: generous, and no
/// assertion of a time.
///
/// # Errors
/// When looking fails, or `limit` passes.
pub fn wait_until(what: &str, limit: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = now();
    while !is_so()? {
        ensure!(start.elapsed() < limit, "{what}: not after {} s", limit.as_secs());
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
