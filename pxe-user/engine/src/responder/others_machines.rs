//! Decides which broadcasts this responder answers on a segment that it shares, where no kernel program does: the same
//! rule with the same code (`pxe_common::segment`), in memory that is allocated at the start.

use pxe_common::segment::{Asked, Broadcast, Ranks};

use super::bounded_table::BoundedTable;
use pxe_proto::time::Timestamp;

/// How often the machines of other responders have asked.
#[derive(Debug)]
pub(super) struct OthersMachines(BoundedTable<[u8; 6]>);

impl OthersMachines {
    /// No machine has asked yet. If `used` is false, no memory is allocated, and every broadcast is answered.
    pub(super) fn new(used: bool) -> Self {
        Self(BoundedTable::new(used))
    }

    /// Whether this responder answers a broadcast. Remembers the machines of others.
    pub(super) fn is_mine(&mut self, now: Timestamp, ranks: &Ranks, broadcast: &Broadcast) -> bool {
        let rank = ranks.of(broadcast.mac);
        if rank == 0 || self.0.is_unused() {
            return true;
        }
        let now = now.as_micros().saturating_mul(1000);
        let mut is_mine = true;
        self.0.update(&broadcast.mac, |before| {
            let (after, is_taken) = Asked(before).take(rank, broadcast.message, now);
            is_mine = is_taken;
            (before != 0 || after.count() > 0).then_some(after.0)
        });
        is_mine
    }
}

#[cfg(test)]
mod tests {
    use pxe_common::segment::Message;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn discover(mac: [u8; 6]) -> Broadcast {
        Broadcast { mac, message: Message::Discover { secs: 0 } }
    }

    fn mac(number: u32) -> [u8; 6] {
        let [a, b, c, d] = number.to_be_bytes();
        [2, 0, a, b, c, d]
    }

    #[test]
    fn machines_are_counted_one_by_one() {
        let (mut others, ranks) = (OthersMachines::new(true), Ranks([1; 256]));
        for number in 0..1000 {
            assert!(!others.is_mine(at(10), &ranks, &discover(mac(number))), "{number}");
        }
        for number in 0..500 {
            let request = Broadcast { mac: mac(number), message: Message::Request };
            assert!(others.is_mine(at(11), &ranks, &request), "{number}");
        }
        let answered = |number: &u32| others.is_mine(at(12), &ranks, &discover(mac(*number)));
        assert_eq!((0..1000).filter(answered).collect::<Vec<_>>(), (500..1000).collect::<Vec<_>>());
    }

    #[test]
    fn our_own_machines_take_no_memory() {
        let (mut others, mut ranks) = (OthersMachines::new(true), Ranks([1; 256]));
        ranks.0[usize::from(pxe_common::segment::bucket(mac(7)))] = 0;
        assert!(others.is_mine(at(10), &ranks, &discover(mac(7))));
        assert_eq!(others.0.values().count(), 0);
        // Nor does a DHCPREQUEST of a machine that never asked here.
        others.is_mine(at(10), &ranks, &Broadcast { mac: mac(8), message: Message::Request });
        assert_eq!(others.0.values().count(), 0);
    }

    #[test]
    fn a_flood_of_invented_machines_hides_only_older_ones() {
        let (mut others, ranks) = (OthersMachines::new(true), Ranks([1; 256]));
        for number in 0..200_000 {
            assert!(!others.is_mine(at(10), &ranks, &discover(mac(number))), "{number}");
        }
        assert!(others.is_mine(at(11), &ranks, &discover(mac(199_999))));
        assert!(others.0.values().count() <= pxe_common::abi::ASKED_MAX as usize);
    }
}
