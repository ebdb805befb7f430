//! The rate at which one listener sends boards to all its readers together. A board of 65,536 machines has 45 MB: a
//! client that reads it again and again must wait, so that it does not take CPU time from machines that boot.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Bytes a second.
const RATE: u64 = 64 << 20;
/// Bytes that may be sent without a delay after a pause: more than one board.
const BURST: u64 = 128 << 20;

/// The rate limiter of one listener. Clones share it. The value is the time at which all bytes so far are paid for, at
/// [`RATE`].
#[derive(Clone, Debug, Default)]
pub(super) struct BoardPacer(Arc<Mutex<Option<Instant>>>);

impl BoardPacer {
    /// Waits until this many bytes may be sent.
    pub(super) async fn wait(&self, bytes: usize) {
        let until = self.take(Instant::now(), bytes);
        tokio::time::sleep_until(until).await;
    }

    /// Counts the bytes, and returns when they may be sent.
    fn take(&self, now: Instant, bytes: usize) -> Instant {
        let time = |bytes: u64| Duration::from_micros(bytes.saturating_mul(1_000_000) / RATE);
        let mut paid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A time in the past counts as now, so a pause gives no more credit than the burst. Bytes may be sent when they
        // are paid for within the time of one burst.
        let begin = paid.map_or(now, |paid| paid.max(now));
        let end = begin + time(bytes as u64);
        *paid = Some(end);
        end.checked_sub(time(BURST)).unwrap_or(now).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_then_a_rate() {
        let (pace, now) = (BoardPacer::default(), Instant::now());
        let waited = |after: Duration, bytes: u64| {
            let now = now + after;
            pace.take(now, usize::try_from(bytes).unwrap()) - now
        };
        assert_eq!(waited(Duration::ZERO, BURST), Duration::ZERO);
        assert_eq!(waited(Duration::ZERO, RATE), Duration::from_secs(1));
        assert_eq!(waited(Duration::ZERO, RATE / 2), Duration::from_millis(1500));
        assert_eq!(waited(Duration::from_secs(1), RATE / 2), Duration::from_secs(1));
        assert_eq!(waited(Duration::from_secs(100), BURST), Duration::ZERO, "and time gives it back");
    }
}
