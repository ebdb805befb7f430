//! Simulated clients that behave as real ones do (clients.md, section 2). Their timers are those of `pxe-clients`; what they do with blocks
//! is written here on its own, since a scene looks at all of it.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use pxe_clients::manners::Waits;
use pxe_proto::time::Timestamp;

use crate::support::*;

/// What a client does with a block that it does not expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unexpected {
    /// iPXE: keeps the block, and acknowledges up to the first gap.
    KeepAndAck,
    /// EDK2, PXELINUX, U-Boot: acknowledges at once the last block that it has.
    AckAgain,
    /// GRUB: acknowledges an old block by that block's number, and ignores a future one.
    AckOld,
}

/// How one kind of client behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    pub(crate) name: &'static str,
    pub(crate) options: &'static [(&'static str, &'static str)],
    /// The client first asks for the size only, and ends that transfer with ERROR 8.
    pub(crate) probes: bool,
    /// How long it waits for an answer to its RRQ and to its ACKs, and how often it repeats them.
    pub(crate) waits: Waits,
    /// Whether an ACK is repeated at all.
    pub(crate) repeats_acks: bool,
    pub(crate) unexpected: Unexpected,
    /// Every OACK makes the client start again at block 1.
    pub(crate) oack_restarts: bool,
    /// Milliseconds between the OACK and ACK 0.
    pub(crate) ponders: u64,
}

pub(crate) const IPXE: Manners = Manners {
    name: "iPXE",
    options: &[("blksize", "1432"), ("tsize", "0")],
    probes: false,
    waits: Waits::Doubling,
    repeats_acks: true,
    unexpected: Unexpected::KeepAndAck,
    oack_restarts: false,
    ponders: 0,
};

pub(crate) const EDK2: Manners = Manners {
    name: "EDK2",
    options: &[("tsize", "0"), ("blksize", "1468"), ("windowsize", "4")],
    probes: true,
    waits: Waits::FourSeconds,
    unexpected: Unexpected::AckAgain,
    ..IPXE
};

pub(crate) const PXELINUX: Manners = Manners {
    name: "PXELINUX",
    options: &[("tsize", "0"), ("blksize", "1408")],
    waits: Waits::Ticks,
    unexpected: Unexpected::AckAgain,
    ponders: 100_000,
    ..IPXE
};

pub(crate) const GRUB: Manners = Manners {
    name: "GRUB",
    options: &[("blksize", "1024"), ("tsize", "0")],
    waits: Waits::RequestOnly,
    repeats_acks: false,
    unexpected: Unexpected::AckOld,
    oack_restarts: true,
    ..IPXE
};

pub(crate) const U_BOOT: Manners = Manners {
    name: "U-Boot",
    options: &[("timeout", "5"), ("tsize", "0"), ("blksize", "1468"), ("windowsize", "16")],
    waits: Waits::FiveSeconds,
    unexpected: Unexpected::AckAgain,
    oack_restarts: true,
    ..IPXE
};

pub(crate) const PLAIN: Manners = Manners {
    name: "a client without options",
    options: &[],
    waits: Waits::Patient,
    unexpected: Unexpected::AckOld,
    ..IPXE
};

/// No real firmware, but clients may request windows of this size.
pub(crate) const WIDE: Manners = Manners {
    name: "a client with wide windows",
    options: &[("tsize", "0"), ("blksize", "1024"), ("windowsize", "64")],
    probes: false,
    ..EDK2
};

pub(crate) const ALL: [Manners; 7] = [IPXE, EDK2, PXELINUX, GRUB, U_BOOT, PLAIN, WIDE];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Asking,
    Pondering,
    Receiving,
    Done,
    Failed(String),
}

pub(crate) struct Client {
    manners: Manners,
    probing: bool,
    pub(crate) address: SocketAddrV4,
    tid: Option<SocketAddrV4>,
    pub(crate) state: State,
    pub(crate) got: Vec<u8>,
    kept: BTreeMap<u64, Vec<u8>>,
    /// The block that the client expects next.
    next: u64,
    acked: u64,
    pub(crate) blksize: usize,
    pub(crate) window: u64,
    pub(crate) tsize: Option<u64>,
    last: Vec<u8>,
    repeats: u8,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) acks: u64,
    /// Packets to be sent: from, to and payload.
    pub(crate) out: Vec<(SocketAddrV4, SocketAddrV4, Vec<u8>)>,
}

impl Client {
    pub(crate) fn new(now: Timestamp, manners: Manners) -> Self {
        Self::at(now, manners, CLIENT)
    }

    pub(crate) fn at(now: Timestamp, manners: Manners, address: SocketAddrV4) -> Self {
        let mut client = Self {
            manners,
            probing: manners.probes,
            address,
            tid: None,
            state: State::Asking,
            got: Vec::new(),
            kept: BTreeMap::new(),
            next: 1,
            acked: 0,
            blksize: 512,
            window: 1,
            tsize: None,
            last: Vec::new(),
            repeats: 0,
            deadline: None,
            acks: 0,
            out: Vec::new(),
        };
        client.ask(now);
        client
    }

    fn options(&self) -> Vec<(&'static str, &'static str)> {
        let without = self.manners.probes && !self.probing;
        self.manners.options.iter().copied().filter(|(name, _)| !(without && *name == "tsize")).collect()
    }

    fn ask(&mut self, now: Timestamp) {
        self.last = rrq("file", &self.options());
        self.out.push((self.address, SocketAddrV4::new(SERVER, 69), self.last.clone()));
        self.arm(now);
    }

    fn arm(&mut self, now: Timestamp) {
        let is_answered = self.state != State::Asking;
        match self.manners.waits.wait(self.repeats, is_answered) {
            Some(wait) => self.deadline = Some(now + wait),
            None => self.fail("gave up"),
        }
    }

    fn fail(&mut self, why: &str) {
        self.state = State::Failed(why.to_owned());
        self.deadline = None;
    }

    fn say(&mut self, payload: Vec<u8>) {
        if let Some(tid) = self.tid {
            self.out.push((self.address, tid, payload));
        }
    }

    fn ack(&mut self, block: u64) {
        self.acks += 1;
        self.last = ack((block & 0xffff) as u16);
        self.say(self.last.clone());
    }

    pub(crate) fn on_time(&mut self, now: Timestamp) {
        if self.deadline.is_none_or(|at| at > now) {
            return;
        }
        if self.state == State::Pondering {
            return self.begin(now);
        }
        self.repeats += 1;
        if self.state == State::Asking {
            self.out.push((self.address, SocketAddrV4::new(SERVER, 69), self.last.clone()));
        } else if self.manners.repeats_acks {
            self.say(self.last.clone());
        }
        self.arm(now);
    }

    fn begin(&mut self, now: Timestamp) {
        self.state = State::Receiving;
        (self.next, self.acked, self.repeats) = (1, 0, 0);
        self.got.clear();
        self.kept.clear();
        self.ack(0);
        self.arm(now);
    }

    pub(crate) fn receive(&mut self, now: Timestamp, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) {
        let over = matches!(self.state, State::Done | State::Failed(_));
        if over || to != self.address || self.tid.is_some_and(|tid| tid != from) {
            return;
        }
        let [0, opcode, rest @ ..] = payload else { return self.fail("no TFTP") };
        match (opcode, rest) {
            (6, options) => self.on_oack(now, from, options),
            (3, [a, b, data @ ..]) => {
                // A client that has requested options waits for an OACK.
                if self.state != State::Receiving {
                    if !self.manners.options.is_empty() {
                        return;
                    }
                    self.state = State::Receiving;
                }
                self.tid = Some(from);
                self.on_data(now, u16::from_be_bytes([*a, *b]), data);
            }
            (5, [a, b, ..]) => self.fail(&format!("ERROR {}", u16::from_be_bytes([*a, *b]))),
            _ => self.fail("a strange packet"),
        }
    }

    fn on_oack(&mut self, now: Timestamp, from: SocketAddrV4, options: &[u8]) {
        self.tid = Some(from);
        if self.state == State::Pondering {
            return;
        }
        if self.state == State::Receiving {
            if self.manners.oack_restarts {
                self.begin(now);
            } else if self.next == 1 {
                self.ack(0);
            }
            return;
        }
        if let Err(why) = self.agree(options) {
            return self.fail(&why);
        }
        if self.probing {
            self.say(error(8));
            self.probing = false;
            self.tid = None;
            self.address = SocketAddrV4::new(*self.address.ip(), self.address.port() + 1);
            self.repeats = 0;
            self.ask(now);
        } else if self.manners.ponders > 0 {
            self.state = State::Pondering;
            self.deadline = Some(now + Duration::from_millis(self.manners.ponders));
        } else {
            self.begin(now);
        }
    }

    /// Checks that the OACK has only requested options, values at most as requested, and the requested
    /// time-out (clients.md, section 6, lines 19 and 20).
    fn agree(&mut self, options: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(options).map_err(|_| "no text")?;
        let words: Vec<_> = text.strip_suffix('\0').ok_or("no NUL at the end")?.split('\0').collect();
        let asked: BTreeMap<_, _> = self.options().into_iter().collect();
        for pair in words.chunks(2) {
            let [name, value] = pair else { return Err("odd words".into()) };
            let wish: u64 = asked.get(name).ok_or(format!("{name} was not asked"))?.parse().unwrap();
            let value: u64 = value.parse().map_err(|_| format!("{name} {value:?}"))?;
            match *name {
                "tsize" => self.tsize = Some(value),
                "timeout" if value == wish => {}
                "blksize" if value <= wish => self.blksize = value as usize,
                "windowsize" if value <= wish => self.window = value,
                _ => return Err(format!("{name} {value} for {wish}")),
            }
        }
        if words.len() != asked.len() * 2 { Err("not all was granted".into()) } else { Ok(()) }
    }

    fn on_data(&mut self, now: Timestamp, wire: u16, data: &[u8]) {
        let ahead = i64::from(wire.wrapping_sub((self.next & 0xffff) as u16) as i16);
        if ahead != 0 {
            match self.manners.unexpected {
                Unexpected::KeepAndAck => {
                    if ahead > 0 {
                        self.kept.insert(self.next + ahead as u64, data.to_vec());
                    }
                    self.ack(self.next - 1);
                }
                Unexpected::AckAgain => {
                    self.acked = self.next - 1;
                    self.ack(self.next - 1);
                }
                Unexpected::AckOld if ahead < 0 => self.ack(u64::from(wire)),
                Unexpected::AckOld => {}
            }
            return;
        }
        self.repeats = 0;
        let mut short = self.take(data);
        while let Some(data) = self.kept.remove(&self.next) {
            short = self.take(&data);
        }
        let have = self.next - 1;
        if short || have - self.acked >= self.window || self.manners.unexpected == Unexpected::KeepAndAck {
            self.acked = have;
            self.ack(have);
        }
        if short {
            self.state = State::Done;
            self.deadline = None;
        } else {
            self.arm(now);
        }
    }

    fn take(&mut self, data: &[u8]) -> bool {
        self.got.extend_from_slice(data);
        self.next += 1;
        data.len() < self.blksize
    }
}
