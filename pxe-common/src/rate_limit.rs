//! Token buckets, one for each source: they limit how often a source may send requests.
//!
//! The kernel program and the daemon use the same code: the program with the map
//! [`MAP_SOURCES`](crate::abi::MAP_SOURCES), the daemon on plain sockets.
//!
//! The generic cell rate algorithm (ITU-T I.371, annex A) stores one number for each source: the time at
//! which its bucket is full again. So a bucket has 64 bits and needs no timer, and a bucket whose time has
//! passed can be forgotten.

/// The rate limit of one source. The default is no limit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Time in which the bucket gets one token, in nanoseconds; 0 means no limit.
    pub interval: u64,
    /// Time in which an empty bucket gets all tokens but one, in nanoseconds.
    pub tolerance: u64,
}

impl Rate {
    /// No rate limit.
    pub const OFF: Self = Self { interval: 0, tolerance: 0 };

    /// A limit of `per_second` requests a second on average, and `burst` requests at once. If `per_second` is
    /// 0, there is no limit. A `burst` of 0 counts as 1.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        if per_second == 0 {
            return Self::OFF;
        }
        // The product is below 2^62: at most 2^32 tokens of one second each.
        let interval = 1_000_000_000 / per_second as u64;
        Self { interval, tolerance: interval * burst.saturating_sub(1) as u64 }
    }

    /// Whether there is no limit.
    #[inline(always)]
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.interval == 0
    }

    /// Takes a token at `now` from a bucket that is full at `full`. Both are nanoseconds on the same clock.
    ///
    /// Returns the new time at which the bucket is full. Returns `None` if the bucket has no token; the
    /// bucket then stays as it is.
    #[inline(always)]
    #[must_use]
    pub const fn take(&self, full: u64, now: u64) -> Option<u64> {
        let full = if full > now { full } else { now };
        if full - now > self.tolerance { None } else { Some(full + self.interval) }
    }
}

/// The rate limits of one interface. Each applies to each source.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Limit for DHCP requests, to ports 67 and 4011 together.
    pub dhcp: Rate,
    /// Limit for requests to TFTP's port 69.
    pub tftp: Rate,
}

/// The key of a bucket: the addresses that identify one machine best in this kind of request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Source {
    /// The Ethernet address; 0 if the IPv4 address alone is the key.
    pub mac: [u8; 6],
    /// The IPv4 address in network byte order; 0 if the Ethernet address alone is the key.
    pub address: [u8; 4],
    /// One of the values in [`kind`].
    pub kind: u16,
}

/// Which of [`Rates`] applies to a [`Source`].
pub mod kind {
    /// [`Rates::dhcp`](super::Rates::dhcp) applies.
    pub const DHCP: u16 = 0;
    /// [`Rates::tftp`](super::Rates::tftp) applies.
    pub const TFTP: u16 = 1;
}

impl Source {
    /// The source of a request to TFTP's port: its IPv4 address. Behind a router or a NAT, all machines share
    /// the frame's Ethernet address.
    #[inline(always)]
    #[must_use]
    pub const fn of_tftp(address: [u8; 4]) -> Self {
        Self { mac: [0; 6], address, kind: kind::TFTP }
    }

    /// The source of a DHCP request to port 67, in a frame from `mac`.
    ///
    /// `relayed` is the request's giaddr and chaddr. A relay forwards requests of many machines, so giaddr
    /// and chaddr identify the machine. Without a relay (giaddr is 0) the frame's source identifies it,
    /// because a switch can prevent a machine from forging it.
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

    /// The source of a request to the boot server's port. The request may come through a router that is not a
    /// relay, so its IPv4 address is the key. If it has no IPv4 address, or came through a relay, the key is
    /// the same as on port 67.
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

    /// Returns how many requests at these times are admitted.
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
        /// No period has more requests than the burst plus what the rate gives in that period. A source that
        /// keeps to the rate is never refused.
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
