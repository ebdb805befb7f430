//! [`LogLimiter`]: a token bucket that limits log lines and steps which strangers can cause. It counts what
//! it drops, so that the next line can say so.

use pxe_proto::time::Timestamp;

/// Size of the bucket, in lines. It is enough for a lab of a thousand machines that is switched on at once.
const BURST: f64 = 20_000.0;
/// Lines per second after the burst.
const RATE: f64 = 200.0;
/// Share of the bucket that warnings may not use. Forged packets cause warnings, and must not use up the
/// lines of real machines.
const RESERVE: f64 = 0.5;

/// The kind of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A step of a machine.
    News,
    /// A problem.
    Warning,
}

/// The token bucket.
#[derive(Clone, Debug)]
pub struct LogLimiter {
    tokens: f64,
    filled: Timestamp,
    left_out: u64,
    burst: f64,
    rate: f64,
}

impl Default for LogLimiter {
    fn default() -> Self {
        Self::new(BURST, RATE)
    }
}

impl LogLimiter {
    /// Creates a full bucket of `burst` lines, which refills at `rate` lines per second.
    pub(super) fn new(burst: f64, rate: f64) -> Self {
        Self { tokens: burst, filled: Timestamp::default(), left_out: 0, burst, rate }
    }

    /// The clock whose time [`Self::admit`] gets was set by `by` microseconds. The bucket keeps its level.
    pub(super) fn clock_set(&mut self, by: i64) {
        self.filled = Timestamp::from_micros(self.filled.as_micros().saturating_add_signed(by));
    }

    /// Takes a token for a line. Returns `None` if the line must be dropped, otherwise `Some(n)`, where n
    /// lines were dropped since the last one that was admitted.
    pub fn admit(&mut self, now: Timestamp, kind: Kind) -> Option<u64> {
        self.tokens = (self.tokens + now.since(self.filled).as_secs_f64() * self.rate).min(self.burst);
        self.filled = now;
        let floor = if kind == Kind::Warning { self.burst * RESERVE } else { 0.0 };
        if self.tokens < floor + 1.0 {
            self.left_out += 1;
            return None;
        }
        self.tokens -= 1.0;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_flood_of_warnings_is_cut_and_told_and_leaves_room_for_news() {
        let mut limit = LogLimiter::default();
        let admitted = (0..100_000).filter(|_| limit.admit(at(1), Kind::Warning).is_some()).count();
        assert_eq!(admitted, 10_000);
        assert_eq!(limit.admit(at(1), Kind::News), Some(90_000));
        assert_eq!(limit.admit(at(2), Kind::Warning), Some(0), "a second later there is room again");
    }

    #[test]
    fn a_lab_that_is_switched_on_is_told_whole() {
        let mut limit = LogLimiter::default();
        assert!((0..2000 * 6).all(|_| limit.admit(at(1), Kind::News) == Some(0)));
    }
}
