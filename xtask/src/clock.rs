//! The one place here that reads the clock.

use std::time::Instant;

/// The present moment.
#[expect(clippy::disallowed_methods, reason = "xtask drives real programs; this is its only clock")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}
