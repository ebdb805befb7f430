//! How often sources may ask, where no kernel program has seen to it: the same limits by the same code
//! (`pxe_common::bucket`), in memory that is taken at the start.
//!
//! A bucket whose time has passed says nothing any more. So who is forgotten for another is the one whose bucket is full,
//! or will be first, out of the few that share a place: a flood of invented sources only forgets limits.

use std::hash::{BuildHasher as _, RandomState};

use pxe_common::rate_limit::{Rate, Source};

use pxe_proto::time::Timestamp;

/// Places for buckets: as many as the kernel's map has (`abi::SOURCES_MAX`).
const SETS: usize = 2048;
/// Buckets that share a place.
const WAYS: usize = pxe_common::abi::SOURCES_MAX as usize / SETS;

/// One source's bucket.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    source: Source,
    /// When it is full, in nanoseconds; 0 for nobody's.
    full: u64,
}

/// The buckets of one worker.
#[derive(Debug)]
pub(super) struct RateLimiter {
    sets: Box<[[Bucket; WAYS]]>,
    /// Strangers choose the keys, so the hash is keyed.
    hasher: RandomState,
}

impl RateLimiter {
    /// Full ones for everybody. Where they are not to be `used`, they take no memory, and everybody is admitted.
    pub(super) fn new(used: bool) -> Self {
        let sets = if used { SETS } else { 0 };
        Self { sets: vec![[Bucket::default(); WAYS]; sets].into(), hasher: RandomState::new() }
    }

    /// Whether a source keeps to its rate; takes a token if it does.
    pub(super) fn admits(&mut self, now: Timestamp, rate: &Rate, source: &Source) -> bool {
        if rate.is_off() || self.sets.is_empty() {
            return true;
        }
        let now = now.as_micros().saturating_mul(1000);
        // SETS is a power of two, so the remainder is as even as the hash.
        let place = self.hasher.hash_one(source) % SETS as u64;
        let set = &mut self.sets[place as usize];
        let own = set.iter().position(|bucket| bucket.source == *source && bucket.full > 0);
        let forgotten = || (0..WAYS).min_by_key(|way| set[*way].full).unwrap_or(0);
        let way = own.unwrap_or_else(forgotten);
        let full = if own.is_some() { set[way].full } else { 0 };
        let Some(full) = rate.take(full, now) else { return false };
        set[way] = Bucket { source: *source, full };
        true
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
        // Nor does it give more than a bucket to those who are remembered.
        let admitted = (0..20).filter(|_| rate_limiter.admits(at(1), &rate, &source(199_999))).count();
        assert_eq!(admitted, 4);
    }

    #[test]
    fn whose_bucket_is_full_is_forgotten_first() {
        let (mut rate_limiter, rate) = (RateLimiter::new(true), Rate::new(10, 5));
        // All places are taken, some by buckets that have long been full again.
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
        assert!(rate_limiter.sets.iter().flatten().all(|bucket| bucket.full == 0));
    }
}
