//! The daemon's monotonic clock. The daemon's threads read no other monotonic clock.

use std::time::Instant;

use pxe_proto::time::Timestamp;

/// `CLOCK_MONOTONIC`, counted from the start of the daemon. Copies have the same start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    /// `CLOCK_MONOTONIC` at the start, in nanoseconds.
    monotonic: u64,
}

impl Clock {
    /// A clock that is 0 now.
    #[expect(clippy::disallowed_methods, reason = "this is the driver's clock")]
    pub fn start() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let monotonic = u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or_default();
        Self { start: Instant::now(), monotonic }
    }

    /// Time since the start of the clock.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Converts a `CLOCK_MONOTONIC` time of the kernel, in nanoseconds, to this clock. A time before the
    /// start gives 0.
    pub fn at_monotonic(&self, ns: u64) -> Timestamp {
        Timestamp::from_micros(ns.saturating_sub(self.monotonic) / 1000)
    }
}
