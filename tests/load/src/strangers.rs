//! Strangers: requests for a file in the names of machines that do not exist, and what these would get for it. Pure.
//!
//! Who forges the source of a request hears nothing of the answers; they go to somebody else. So no stranger ever
//! acknowledges anything. The requests are the most tempting ones: as short as they can be (no options), for what is
//! answered at once with a block.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use pxe_proto::time::Timestamp;

/// The first stranger's address; the others follow. No machine of a run has one of these.
pub const FIRST: Ipv4Addr = Ipv4Addr::new(10, 50, 128, 0);
/// How many there can be: the rest of 10.50.0.0/16, without its broadcast address.
pub use pxe_kit::load::STRANGERS_MOST as MOST;

/// Of so many requests, one pretends to come from a service: its answer would be this service's to answer, and so on.
const SERVICE_EVERY: u32 = 10;
/// echo, chargen, DNS, TFTP itself, NTP, SNMP.
const SERVICES: [u16; 6] = [7, 19, 53, 69, 123, 161];
/// Ports below this belong to services (RFC 6335, section 6).
const SERVICES_END: u16 = 1024;

/// How many there are, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crowd {
    /// How many ask, once each: up to [`MOST`].
    pub count: u32,
    /// Requests a second.
    pub rate: u32,
    /// How long answers are counted after the last request.
    pub listen: Duration,
}

/// What was asked, and what was answered. Bytes are of UDP payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Requests.
    pub asked: u64,
    /// Their bytes.
    pub asked_bytes: u64,
    /// Strangers who got something: not all requests arrive, or find a place.
    pub answered: u64,
    /// Packets to the one who got the most of them.
    pub most_packets: u32,
    /// Bytes to the one who got the most of them.
    pub most_bytes: u32,
    /// Packets that went to ports of services.
    pub to_services: u64,
}

/// A crowd in the course of a run.
#[derive(Clone, Debug)]
pub struct Strangers {
    crowd: Crowd,
    heard: Heard,
    /// Packets and bytes to each.
    to_each: Vec<[u32; 2]>,
    last_asked: Timestamp,
}

impl Strangers {
    /// Nobody has asked yet.
    pub fn new(crowd: Crowd) -> Self {
        let crowd = Crowd { count: crowd.count.min(MOST), ..crowd };
        let to_each = vec![[0; 2]; crowd.count as usize];
        Self { crowd, heard: Heard::default(), to_each, last_asked: Timestamp::default() }
    }

    /// Who asks next, if it is time for that: until [`Self::asked`] is told, the same one.
    pub fn next(&self, now: Timestamp) -> Option<SocketAddrV4> {
        let number = self.heard.asked;
        let due = number * 1_000_000 / u64::from(self.crowd.rate.max(1));
        (number < self.crowd.count.into() && now.as_micros() >= due).then(|| stranger(number as u32))
    }

    /// The next one has asked, with so many bytes.
    pub fn asked(&mut self, now: Timestamp, bytes: usize) {
        self.heard.asked += 1;
        self.heard.asked_bytes += bytes as u64;
        self.last_asked = now;
    }

    /// A packet with so many bytes; false if it is for no stranger.
    pub fn hear(&mut self, to: SocketAddrV4, bytes: usize) -> bool {
        let number = to.ip().to_bits().wrapping_sub(FIRST.to_bits());
        let Some([packets, all]) = self.to_each.get_mut(number as usize) else { return false };
        (*packets, *all) = (*packets + 1, *all + bytes as u32);
        self.heard.answered += u64::from(*packets == 1);
        self.heard.most_packets = self.heard.most_packets.max(*packets);
        self.heard.most_bytes = self.heard.most_bytes.max(*all);
        self.heard.to_services += u64::from(to.port() < SERVICES_END);
        true
    }

    /// Whether all have asked, and their answers have been waited for.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.crowd.count == 0
            || self.heard.asked >= self.crowd.count.into() && now >= self.last_asked + self.crowd.listen
    }

    /// What came of it; none if there was no crowd.
    pub fn heard(&self) -> Option<Heard> {
        (self.crowd.count > 0).then_some(self.heard)
    }
}

/// The address and the port of a stranger.
fn stranger(number: u32) -> SocketAddrV4 {
    let port = match number % SERVICE_EVERY {
        0 => SERVICES[(number / SERVICE_EVERY) as usize % SERVICES.len()],
        _ => SERVICES_END + (number.wrapping_mul(7919) % 50_000) as u16,
    };
    SocketAddrV4::new(Ipv4Addr::from_bits(FIRST.to_bits() + number), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CROWD: Crowd = Crowd { count: 20, rate: 1000, listen: Duration::from_secs(1) };

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(millis * 1000)
    }

    #[test]
    fn each_asks_once_at_its_time_and_one_of_ten_pretends_to_be_a_service() {
        let mut strangers = Strangers::new(CROWD);
        let mut all = Vec::new();
        for millis in 0..30 {
            while let Some(from) = strangers.next(at(millis)) {
                strangers.asked(at(millis), 18);
                all.push(from);
            }
            assert_eq!(all.len(), 20.min(millis as usize + 1), "one a millisecond");
        }
        assert!(all.iter().map(|from| *from.ip()).eq((0..20).map(|n| Ipv4Addr::new(10, 50, 128, n))));
        assert_eq!(all.iter().filter(|from| from.port() < 1024).count(), 2);
        let heard = strangers.heard().unwrap();
        assert_eq!((heard.asked, heard.asked_bytes), (20, 360));
    }

    #[test]
    fn what_goes_to_strangers_is_counted_and_nothing_else() {
        let mut strangers = Strangers::new(CROWD);
        let to = |address: [u8; 4], port| SocketAddrV4::new(address.into(), port);
        assert!(strangers.hear(to([10, 50, 128, 0], 7), 516));
        assert!(strangers.hear(to([10, 50, 128, 19], 2000), 300));
        assert!(strangers.hear(to([10, 50, 128, 19], 2000), 300));
        for other in [[10, 50, 128, 20], [10, 50, 127, 255], [10, 50, 1, 0], [0, 0, 0, 0]] {
            assert!(!strangers.hear(to(other, 2000), 516), "{other:?}");
        }
        let heard = strangers.heard().unwrap();
        assert_eq!((heard.answered, heard.to_services), (2, 1));
        assert_eq!((heard.most_packets, heard.most_bytes), (2, 600));
    }

    #[test]
    fn answers_are_waited_for_and_nobody_is_waited_for_without_a_crowd() {
        let mut strangers = Strangers::new(CROWD);
        assert!(!strangers.is_over(at(60_000)), "nobody has asked");
        (0..20).for_each(|_| strangers.asked(at(20), 18));
        assert!(!strangers.is_over(at(1019)) && strangers.is_over(at(1020)));
        let nobody = Strangers::new(Crowd::default());
        assert!(nobody.is_over(at(0)) && nobody.next(at(0)).is_none() && nobody.heard().is_none());
    }
}
