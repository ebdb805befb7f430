//! One simulated machine: asks for a file, acknowledges, compares every byte. Pure, as the server's side is.

use std::time::Duration;

use pxe_user::tftp::Block;
use pxe_user::time::Timestamp;

/// What a machine asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The file's name.
    pub file: String,
    /// Its bytes, to compare.
    pub bytes: Vec<u8>,
    /// Option `blksize`, 8 to 1468.
    pub blksize: u16,
    /// Option `windowsize`; 1 is lock-step, without the option, as nearly all firmware has it.
    pub windowsize: u16,
}

impl Wish {
    /// The RRQ's payload.
    pub fn request(&self) -> Vec<u8> {
        let mut packet =
            format!("\0\u{1}{}\0octet\0tsize\x000\0blksize\0{}\0", self.file, self.blksize).into_bytes();
        if self.windowsize > 1 {
            packet.extend(format!("windowsize\0{}\0", self.windowsize).into_bytes());
        }
        packet
    }

    fn last(&self) -> Block {
        Block(self.bytes.len() as u64 / u64::from(self.blksize) + 1)
    }
}

/// Firmware waits this long before it repeats itself.
const PATIENCE: Duration = Duration::from_secs(1);
/// Repeats until it gives up.
const REPEATS_MAX: u8 = 10;

/// What a machine wants to say next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// Nothing.
    Nothing,
    /// The request, to port 69.
    Request,
    /// An ACK of this block, modulo 65536, to the server's port.
    Ack(u16),
}

/// Where a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Switched off.
    Off,
    /// Waiting for OACK or DATA.
    Loading,
    /// It has the file.
    Done,
    /// It gave up, or got wrong bytes.
    Failed,
}

/// One machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Where it is.
    pub state: State,
    /// The server's port, once it has shown itself.
    pub server_port: Option<u16>,
    /// When it was switched on.
    pub started: Timestamp,
    /// When it had everything.
    pub finished: Timestamp,
    /// When it loses patience.
    pub deadline: Timestamp,
    /// Packets that it said again.
    pub repeats: u64,
    /// The last block that it has.
    have: Block,
    /// Blocks per window, as granted.
    windowsize: u16,
    in_window: u16,
    tries: u8,
}

impl Default for Machine {
    fn default() -> Self {
        let zero = Timestamp::default();
        Self {
            state: State::Off,
            server_port: None,
            started: zero,
            finished: zero,
            deadline: zero,
            repeats: 0,
            have: Block(0),
            windowsize: 1,
            in_window: 0,
            tries: 0,
        }
    }
}

impl Machine {
    /// Switched on.
    pub fn start(&mut self, now: Timestamp) -> Say {
        *self = Self { state: State::Loading, started: now, deadline: now + PATIENCE, ..Self::default() };
        Say::Request
    }

    /// A packet from the server's port `port`.
    pub fn receive(&mut self, now: Timestamp, wish: &Wish, port: u16, packet: &[u8]) -> Say {
        if self.state != State::Loading || *self.server_port.get_or_insert(port) != port {
            return Say::Nothing;
        }
        match packet {
            // OACK: of what we ask for only the window may be denied, by servers that know none.
            [0, 6, granted @ ..] if self.have == Block(0) => {
                self.windowsize = windowsize(granted).min(wish.windowsize);
                self.heard(now);
                Say::Ack(0)
            }
            [0, 3, high, low, data @ ..] => self.data(now, wish, u16::from_be_bytes([*high, *low]), data),
            [0, 5, ..] => {
                self.state = State::Failed;
                Say::Nothing
            }
            _ => Say::Nothing,
        }
    }

    fn data(&mut self, now: Timestamp, wish: &Wish, wire: u16, data: &[u8]) -> Say {
        let next = self.have + 1;
        if wire != next.wire() {
            // EDK2 acknowledges what it has for every unexpected block; lock-step clients for an old one only.
            let gap = self.windowsize > 1 || wire == self.have.wire();
            self.in_window = 0;
            return if gap { Say::Ack(self.have.wire()) } else { Say::Nothing };
        }
        let start = (next.offset(wish.blksize) as usize).min(wish.bytes.len());
        let end = (start + usize::from(wish.blksize)).min(wish.bytes.len());
        if data != &wish.bytes[start..end] {
            self.state = State::Failed;
            return Say::Nothing;
        }
        self.heard(now);
        self.have = next;
        self.in_window += 1;
        if next == wish.last() {
            self.state = State::Done;
            self.finished = now;
            return Say::Ack(next.wire());
        }
        if self.in_window >= self.windowsize {
            self.in_window = 0;
            return Say::Ack(next.wire());
        }
        Say::Nothing
    }

    fn heard(&mut self, now: Timestamp) {
        self.deadline = now + PATIENCE;
        self.tries = 0;
    }

    /// Its patience is over.
    pub fn on_time(&mut self, now: Timestamp) -> Say {
        if self.state != State::Loading || now < self.deadline {
            return Say::Nothing;
        }
        self.tries += 1;
        if self.tries > REPEATS_MAX {
            self.state = State::Failed;
            return Say::Nothing;
        }
        self.repeats += 1;
        self.deadline = now + PATIENCE;
        self.in_window = 0;
        if self.server_port.is_none() { Say::Request } else { Say::Ack(self.have.wire()) }
    }
}

/// The window that an OACK's options grant; 1 if they do not name it (RFC 7440, section 3).
fn windowsize(options: &[u8]) -> u16 {
    let mut words = options.split(|byte| *byte == 0);
    let named = words.find(|word| word.eq_ignore_ascii_case(b"windowsize")).and_then(|_| words.next());
    let number = named.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    number.filter(|&number| number > 0).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(windowsize: u16) -> Wish {
        Wish { file: "x".into(), bytes: (0..=255).cycle().take(3000).collect(), blksize: 1024, windowsize }
    }

    fn block(wish: &Wish, number: u16) -> Vec<u8> {
        let start = usize::from(number - 1) * 1024;
        let end = (start + 1024).min(wish.bytes.len());
        [&[0, 3, 0, number as u8], &wish.bytes[start..end]].concat()
    }

    #[test]
    fn a_machine_takes_a_file_in_lock_step_and_in_windows() {
        for (windowsize, acks) in [
            (1, vec![Say::Ack(1), Say::Ack(2), Say::Ack(3)]),
            (4, vec![Say::Nothing, Say::Nothing, Say::Ack(3)]),
        ] {
            let (wish, mut machine) = (wish(windowsize), Machine::default());
            let now = Timestamp::from_micros(1);
            assert_eq!(machine.start(now), Say::Request);
            let oack = [b"\0\x06windowsize\0", windowsize.to_string().as_bytes(), b"\0"].concat();
            assert_eq!(machine.receive(now, &wish, 61000, &oack), Say::Ack(0));
            for (number, ack) in (1..).zip(acks) {
                assert_eq!(machine.receive(now, &wish, 61000, &block(&wish, number)), ack);
            }
            assert_eq!(machine.state, State::Done);
        }
    }

    #[test]
    fn a_server_without_windows_is_answered_block_by_block() {
        assert_eq!(windowsize(b"tsize\x003000\0blksize\x001024\0"), 1);
        assert_eq!(windowsize(b"blksize\x001024\0windowsize\x0016\0"), 16);
        assert_eq!(windowsize(b"windowsize\0\0"), 1);
    }

    #[test]
    fn a_wrong_byte_is_a_failure() {
        let (wish, mut machine) = (wish(1), Machine::default());
        machine.start(Timestamp::default());
        let mut data = block(&wish, 1);
        data[700] ^= 1;
        machine.receive(Timestamp::default(), &wish, 61000, &data);
        assert_eq!(machine.state, State::Failed);
    }

    #[test]
    fn silence_is_answered_by_repeats_and_then_by_giving_up() {
        let mut machine = Machine::default();
        machine.start(Timestamp::default());
        let said: Vec<_> =
            (1..=12).map(|second| machine.on_time(Timestamp::from_micros(second * 1_000_000))).collect();
        assert_eq!(said.iter().filter(|say| **say == Say::Request).count(), usize::from(REPEATS_MAX));
        assert_eq!(machine.state, State::Failed);
    }
}
