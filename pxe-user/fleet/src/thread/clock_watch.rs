//! [`ClockWatch`]: notices when the wall clock is set, so that the registry can shift its times, and
//! durations stay right.

use crate::board::UnixMs;
use pxe_proto::time::Timestamp;

/// A smaller difference counts as slewing of the clock. It is ignored, and makes a duration wrong by less
/// than this.
const STEP_MS: u64 = 2000;

/// Compares the wall clock with the monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClockWatch {
    last: Option<(UnixMs, Timestamp)>,
}

impl ClockWatch {
    /// Compares both clocks with the last call. Returns by how many milliseconds the wall clock was set since
    /// then, or `None` if it was not.
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
