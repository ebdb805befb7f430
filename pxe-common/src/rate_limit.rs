//! Token buckets, one for each source: how often somebody may ask.
//!
//! The generic cell rate algorithm (ITU-T I.371, annex A) keeps one number for each source, the time at which its bucket
//! will be full again. So a bucket is 64 bits, needs no timer, and one whose time has passed is as good as none.

/// How often a source may ask. The default is without a limit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds in which the bucket gets one token; 0 for no limit.
    pub interval: u64,
    /// Nanoseconds in which an empty bucket gets all tokens but one.
    pub tolerance: u64,
}

impl Rate {
    /// No limit.
    pub const OFF: Self = Self { interval: 0, tolerance: 0 };

    /// `per_second` requests a second in the long run, `burst` of them at once; 0 a second is no limit, a burst is at
    /// least one.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        if per_second == 0 {
            return Self::OFF;
        }
        // Below 2^62 at the most: 2^32 tokens of a second each.
        let interval = 1_000_000_000 / per_second as u64;
        Self { interval, tolerance: interval * burst.saturating_sub(1) as u64 }
    }

    /// Whether there is no limit.
    #[inline(always)]
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.interval == 0
    }

    /// Takes a token at `now` from a bucket that is full at `full`, both in nanoseconds of one clock. Returns when the
    /// bucket is full after that; `None` if it has no token, and stays as it is.
    #[inline(always)]
    #[must_use]
    pub const fn take(&self, full: u64, now: u64) -> Option<u64> {
        let full = if full > now { full } else { now };
        if full - now > self.tolerance { None } else { Some(full + self.interval) }
    }
}

/// The limits of one interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// DHCP requests, to 67 and 4011 together.
    pub dhcp: Rate,
    /// Requests to TFTP's port 69.
    pub tftp: Rate,
}

/// Whose bucket it is: what names one machine best where a request shows it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Source {
    /// The Ethernet address, or 0.
    pub mac: [u8; 6],
    /// The IPv4 address in network byte order, or 0.
    pub address: [u8; 4],
    /// One of [`kind`].
    pub kind: u16,
}

/// Which of [`Rates`] counts for a [`Source`].
pub mod kind {
    /// [`Rates::dhcp`](super::Rates::dhcp).
    pub const DHCP: u16 = 0;
    /// [`Rates::tftp`](super::Rates::tftp).
    pub const TFTP: u16 = 1;
}

impl Source {
    /// Who sends a request to TFTP's port: behind a router or a NAT the frame's address is everybody's.
    #[inline(always)]
    #[must_use]
    pub const fn of_tftp(address: [u8; 4]) -> Self {
        Self { mac: [0; 6], address, kind: kind::TFTP }
    }

    /// Who sends a DHCP request to 67, in a frame from `mac`.
    ///
    /// `relayed` are its giaddr and chaddr. A relay stands for many machines, so these are told apart by what it says of
    /// them; a machine that speaks for itself is known by its frame, in which a switch may forbid it to lie.
    #[inline(always)]
    #[must_use]
    pub const fn of_dhcp(mac: [u8; 6], relayed: ([u8; 4], [u8; 6])) -> Self {
        let (giaddr, chaddr) = relayed;
        if u32::from_ne_bytes(giaddr) == 0 {
            Self { mac, address: [0; 4], kind: kind::DHCP }
        } else {
            Self { mac: chaddr, address: giaddr, kind: kind::DHCP }
        }
    }

    /// Who sends a request to the boot server's port. It may come through a router that is no relay, so its IPv4 address
    /// counts; without one it is as on 67.
    #[inline(always)]
    #[must_use]
    pub const fn of_boot_server(mac: [u8; 6], relayed: ([u8; 4], [u8; 6]), address: [u8; 4]) -> Self {
        let source = Self::of_dhcp(mac, relayed);
        if u32::from_ne_bytes(source.address) != 0 || u32::from_ne_bytes(address) == 0 {
            return source;
        }
        Self { mac: [0; 6], address, kind: kind::DHCP }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// How many of these times are admitted.
    fn admitted(rate: Rate, times: impl IntoIterator<Item = u64>) -> usize {
        let mut full = 0;
        let mut count = 0;
        for now in times {
            if let Some(next) = rate.take(full, now) {
                (full, count) = (next, count + 1);
            }
        }
        count
    }

    #[test]
    fn a_burst_is_admitted_at_once_and_then_as_many_as_the_rate_says() {
        let rate = Rate::new(10, 40);
        assert_eq!(admitted(rate, [5 * SECOND; 100]), 40);
        let after = (0..100).map(|_| 5 * SECOND).chain((0..100).map(|_| 7 * SECOND));
        assert_eq!(admitted(rate, after), 40 + 20);
        assert_eq!(admitted(Rate::new(10, 0), [0; 3]), 1, "a burst is at least one");
        assert_eq!(admitted(Rate::new(u32::MAX, u32::MAX), [0; 1000]), 1000);
        assert_eq!(admitted(Rate::new(1, u32::MAX), [u64::MAX / 4; 1000]), 1000);
    }

    #[test]
    fn without_a_rate_there_is_no_limit() {
        assert!(Rate::new(0, 5).is_off() && Rate::default().is_off() && !Rate::new(1, 1).is_off());
    }

    #[test]
    fn machines_behind_a_relay_are_told_apart_and_others_cannot_choose_who_they_are() {
        let (own, other) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let relay = [10, 1, 0, 1];
        assert_eq!(Source::of_dhcp(own, ([0; 4], other)), Source::of_dhcp(own, ([0; 4], own)));
        assert_ne!(Source::of_dhcp(own, (relay, other)), Source::of_dhcp(own, (relay, own)));
        let routed = |address| Source::of_boot_server(own, ([0; 4], other), address);
        assert_ne!(routed([10, 1, 0, 7]), routed([10, 1, 0, 8]));
        assert_eq!(routed([0; 4]), Source::of_dhcp(own, ([0; 4], other)));
        assert_ne!(routed([10, 1, 0, 7]), Source::of_tftp([10, 1, 0, 7]));
    }

    proptest! {
        /// In no stretch of time more than the burst and what the rate gives in it; and whoever keeps to the rate is
        /// never refused.
        #[test]
        fn no_stretch_has_more_than_its_share(
            per_second in 1u32..2000,
            burst in 1u32..300,
            gaps in prop::collection::vec(0u64..200_000_000, 1..200),
        ) {
            let rate = Rate::new(per_second, burst);
            let mut full = 0;
            let mut now = SECOND;
            let mut taken = Vec::new();
            for gap in gaps {
                now += gap;
                if let Some(next) = rate.take(full, now) {
                    full = next;
                    taken.push(now);
                }
            }
            for (index, from) in taken.iter().enumerate() {
                for (count, to) in taken[index..].iter().enumerate() {
                    let share = u64::from(burst) + (to - from) / rate.interval;
                    prop_assert!((count as u64) < share, "{} in {} ns", count + 1, to - from);
                }
            }
            let steady = (0..50).map(|n| SECOND + n * rate.interval);
            prop_assert_eq!(admitted(rate, steady), 50);
        }
    }
}
