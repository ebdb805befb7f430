//! The time between two runs of the daemon.

use crate::board::UnixMs;

/// The time between two runs, as far as it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Absence {
    /// The wall-clock time of the earlier run's last write.
    pub(crate) written: UnixMs,
    /// How many milliseconds count as the time since then.
    pub(crate) believed: u64,
}
