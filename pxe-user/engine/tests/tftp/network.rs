//! A network in virtual time. It loses, delays, reorders and duplicates packets, always in the same way for
//! the same seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddrV4;
use std::time::Duration;

use pxe_proto::time::Timestamp;

/// How bad the network is. Chances are in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) loss: u32,
    /// No packet to the server is lost.
    pub(crate) loses_answers_only: bool,
    pub(crate) duplicates: u32,
    /// Delay of each packet, in microseconds.
    pub(crate) delay: u64,
    /// Largest random delay in addition, in microseconds. If it is larger than the gap between packets,
    /// packets are reordered.
    pub(crate) jitter: u64,
    /// For experiments: one DATA packet is lost, the one with this number, counted from 1.
    pub(crate) lose_data: Option<u64>,
}

/// A packet on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Flight {
    pub(crate) arrives: Timestamp,
    number: u64,
    pub(crate) to_server: bool,
    pub(crate) from: SocketAddrV4,
    pub(crate) to: SocketAddrV4,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Network {
    weather: Weather,
    state: u64,
    flights: BinaryHeap<Reverse<Flight>>,
    number: u64,
    data: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
}

impl Network {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        Self { weather, state: seed, flights: BinaryHeap::new(), number: 0, data: 0, lost: 0, duplicated: 0 }
    }

    /// The random number generator SplitMix64.
    fn random(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below.max(1)
    }

    fn chance(&mut self, thousandths: u32) -> bool {
        thousandths > 0 && self.random(1000) < u64::from(thousandths)
    }

    pub(crate) fn send(
        &mut self,
        now: Timestamp,
        to_server: bool,
        (from, to): (SocketAddrV4, SocketAddrV4),
        payload: &[u8],
    ) {
        if payload.get(1) == Some(&3) {
            self.data += 1;
            if self.weather.lose_data == Some(self.data) {
                self.lost += 1;
                return;
            }
        }
        let copies = if self.chance(self.weather.duplicates) { 2 } else { 1 };
        self.duplicated += copies - 1;
        for _ in 0..copies {
            if !(to_server && self.weather.loses_answers_only) && self.chance(self.weather.loss) {
                self.lost += 1;
                continue;
            }
            let delay = self.weather.delay + self.random(self.weather.jitter + 1);
            let arrives = now + Duration::from_micros(delay);
            self.number += 1;
            let number = self.number;
            self.flights.push(Reverse(Flight {
                arrives,
                number,
                to_server,
                from,
                to,
                payload: payload.to_vec(),
            }));
        }
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.flights.peek().map(|Reverse(flight)| flight.arrives)
    }

    pub(crate) fn arrive(&mut self, now: Timestamp) -> Option<Flight> {
        self.next().filter(|at| *at <= now)?;
        self.flights.pop().map(|Reverse(flight)| flight)
    }
}
