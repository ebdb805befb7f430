//! When the time of day is set: what took a while took that long all the same.

use crate::board::UnixMs;
use pxe_proto::time::Timestamp;

/// Less than this is a clock that is being slewed, and the error that it makes in a duration is less than that.
const STEP_MS: u64 = 2000;

/// Compares the time of day with the monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClockWatch {
    last: Option<(UnixMs, Timestamp)>,
}

impl ClockWatch {
    /// Looks at both clocks; by how many milliseconds the time of day was set since the last look, if it was.
    pub(super) fn look(&mut self, wall: UnixMs, now: Timestamp) -> Option<i64> {
        let (wall_before, before) = self.last.replace((wall, now))?;
        let passed = u64::try_from(now.since(before).as_millis()).unwrap_or(u64::MAX);
        let by = wall.0.cast_signed().saturating_sub(wall_before.0.saturating_add(passed).cast_signed());
        (by.unsigned_abs() >= STEP_MS).then_some(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_was_set_is_told() {
        let mut watch = ClockWatch::default();
        let mut look = |wall, millis: u64| watch.look(UnixMs(wall), Timestamp::from_micros(millis * 1000));
        assert_eq!(look(5_000_000, 10), None);
        assert_eq!(look(5_001_000, 1010), None, "both went on");
        assert_eq!(look(5_003_000, 2010), None, "slewed");
        assert_eq!(look(1_004_000, 3010), Some(-4_000_000));
        assert_eq!(look(1_005_000, 4010), None, "told once");
        assert_eq!(look(9_006_000, 5010), Some(8_000_000));
    }
}
