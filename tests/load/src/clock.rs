//! The time of a run.

use std::time::Instant;

use pxe_proto::time::Timestamp;

/// Counts from the start of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Starts at 0.
    #[must_use]
    pub(crate) fn start() -> Self {
        Self(pxe_kit::clock::now())
    }

    /// Time since the start.
    #[must_use]
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}
