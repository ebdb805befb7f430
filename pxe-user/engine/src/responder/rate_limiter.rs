//! Limits the rate of each source where no kernel program does: the same limits with the same code
//! (`pxe_common::rate_limit`), in memory that is allocated at the start.
//!
//! A bucket that is full again holds no information. If a new source finds all buckets of its set taken, it
//! replaces the bucket that is full, or will be full first. So a flood of forged sources can only remove
//! limits; it cannot block a real machine.

use pxe_common::rate_limit::{Rate, Source};

use super::bounded_table::BoundedTable;
use pxe_proto::time::Timestamp;

/// The buckets of one worker: when each is full, in nanoseconds.
#[derive(Debug)]
pub(super) struct RateLimiter(BoundedTable<Source>);

impl RateLimiter {
    /// Full buckets for all sources. If `used` is false, no memory is allocated, and every request is
    /// admitted.
    pub(super) fn new(used: bool) -> Self {
        Self(BoundedTable::new(used))
    }

    /// Whether a source is within its rate limit. If it is, takes a token.
    pub(super) fn admits(&mut self, now: Timestamp, rate: &Rate, source: &Source) -> bool {
        if rate.is_off() || self.0.is_unused() {
            return true;
        }
        let now = now.as_micros().saturating_mul(1000);
        self.0.update(source, |full| rate.take(full, now)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> Source {
        Source::of_tftp(number.to_be_bytes())
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(millis * 1000)
    }

    #[test]
    fn each_source_has_its_own_bucket() {
        let (mut rate_limiter, rate) = (RateLimiter::new(true), Rate::new(10, 5));
        for number in 0..1000 {
            let admitted = (0..20).filter(|_| rate_limiter.admits(at(0), &rate, &source(number))).count();
            assert_eq!(admitted, 5, "{number}");
        }
        for number in 0..1000 {
            assert!(!rate_limiter.admits(at(99), &rate, &source(number)), "{number}");
            assert!(rate_limiter.admits(at(100), &rate, &source(number)), "{number}");
        }
    }

    #[test]
    fn a_flood_of_invented_sources_limits_nobody_else() {
        let (mut rate_limiter, rate) = (RateLimiter::new(true), Rate::new(10, 5));
        for number in 0..200_000 {
            assert!(rate_limiter.admits(at(0), &rate, &source(number)), "{number}");
        }
        // A source whose bucket is in memory does not get more than one bucket of tokens.
        let admitted = (0..20).filter(|_| rate_limiter.admits(at(1), &rate, &source(199_999))).count();
        assert_eq!(admitted, 4);
    }

    #[test]
    fn whose_bucket_is_full_is_forgotten_first() {
        let (mut rate_limiter, rate) = (RateLimiter::new(true), Rate::new(10, 5));
        // All buckets are taken, some by sources whose buckets have been full for a long time.
        assert!((0..200_000).all(|number| rate_limiter.admits(at(0), &rate, &source(number))));
        let now = at(60_000);
        assert_eq!((0..20).filter(|_| rate_limiter.admits(now, &rate, &source(7))).count(), 5);
        for number in 300_000..310_000 {
            rate_limiter.admits(now, &rate, &source(number));
        }
        assert!(!rate_limiter.admits(now, &rate, &source(7)), "its bucket is the emptiest of its place");
    }

    #[test]
    fn without_a_rate_nothing_is_kept() {
        let mut rate_limiter = RateLimiter::new(true);
        assert!((0..100_000).all(|_| rate_limiter.admits(at(0), &Rate::OFF, &source(1))));
        assert!(rate_limiter.0.values().next().is_none());
    }
}
