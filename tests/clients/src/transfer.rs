//! One file's transfer on a machine's side: asks, acknowledges, compares every byte. Pure, as the server's side is.

use pxe_proto::tftp::Block;
use pxe_proto::time::Timestamp;

use super::manners::{Manners, Reack};

/// Bytes per block where nobody agreed on another number (RFC 1350).
const BLKSIZE_DEFAULT: u16 = 512;
/// ERROR code for a file that is not there (RFC 1350).
const NOT_FOUND: u8 = 1;

/// What a machine does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAction {
    /// Nothing.
    Nothing,
    /// Says its request, to port 69.
    Request,
    /// Acknowledges this block, modulo 65536, to the server's port.
    Ack(u16),
    /// Has the file, and acknowledges this last block.
    Complete(u16),
    /// Knows the size, says ERROR 8 and begins anew.
    Sized,
    /// Heard that there is no such file, and expected that.
    Missing,
    /// Gives up.
    Failed(Failure),
}

/// Why a machine gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody answered for too long.
    Silence,
    /// Wrong bytes, or another size than the file's.
    Wrong,
    /// An ERROR, or an answer that the firmware does not take.
    Refused,
}

/// A transfer in its steady state, for another player.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steady {
    /// The server's port.
    pub server_port: u16,
    /// The last block that is there.
    pub have: Block,
    /// As granted.
    pub blksize: u16,
    /// As granted.
    pub windowsize: u16,
}

/// One transfer.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// The server's port, once it has shown itself.
    pub server_port: Option<u16>,
    /// When patience ends.
    pub deadline: Timestamp,
    /// Whether this only asks for the size.
    pub probing: bool,
    /// Which versions of the file it may be, a bit for each: all that came so far is theirs.
    versions: u8,
    /// The last block that is there.
    have: Block,
    /// As granted.
    blksize: u16,
    windowsize: u16,
    in_window: u16,
    repeats: u8,
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            server_port: None,
            deadline: Timestamp::default(),
            probing: false,
            versions: u8::MAX,
            have: Block(0),
            blksize: BLKSIZE_DEFAULT,
            windowsize: 1,
            in_window: 0,
            repeats: 0,
        }
    }
}

impl Transfer {
    /// A transfer whose request is said now.
    pub fn start(now: Timestamp, manners: &Manners, probing: bool) -> Self {
        let deadline = now + manners.waits.wait(0, false).unwrap_or_default();
        Self { deadline, probing, ..Self::default() }
    }

    /// Whether what came is of a later version than the file's first.
    pub fn is_later_version(&self) -> bool {
        self.versions & 1 == 0
    }

    /// Where the transfer is, if it is in its steady state: the next packet is the first block of a window.
    pub fn steady(&self) -> Option<Steady> {
        let server_port = self.server_port.filter(|_| !self.probing && self.in_window == 0)?;
        Some(Steady { server_port, have: self.have, blksize: self.blksize, windowsize: self.windowsize })
    }

    /// The last block that is there.
    pub fn have(&self) -> Block {
        self.have
    }

    /// Bytes of the blocks that are there, of which the last is not the file's.
    pub fn bytes(&self) -> u64 {
        self.have.0 * u64::from(self.blksize)
    }

    /// Another player has acknowledged everything up to `have`, and has seen `in_window` blocks since the last ACK.
    pub fn resume(&mut self, now: Timestamp, manners: &Manners, have: Block, in_window: u16) {
        if (have, in_window) != (self.have, self.in_window) {
            self.heard(now, manners);
        }
        (self.have, self.in_window) = (have, in_window);
    }

    /// A packet from the server's port `port`. `versions` are the file's, none if it must be missing.
    pub fn receive(
        &mut self,
        now: Timestamp,
        manners: &Manners,
        versions: Option<&[Vec<u8>]>,
        port: u16,
        packet: &[u8],
    ) -> ClientAction {
        if *self.server_port.get_or_insert(port) != port {
            return ClientAction::Nothing;
        }
        match (packet, versions) {
            ([0, 5, 0, NOT_FOUND, ..], None) => ClientAction::Missing,
            ([0, 5, ..], _) | ([0, 3 | 6, ..], None) => ClientAction::Failed(Failure::Refused),
            ([0, 6, granted @ ..], Some(versions)) => self.oack(now, manners, versions, granted),
            ([0, 3, high, low, data @ ..], Some(versions)) => {
                self.data(now, manners, versions, u16::from_be_bytes([*high, *low]), data)
            }
            _ => ClientAction::Nothing,
        }
    }

    fn oack(
        &mut self,
        now: Timestamp,
        manners: &Manners,
        versions: &[Vec<u8>],
        options: &[u8],
    ) -> ClientAction {
        if self.have != Block(0) {
            if !manners.oack_restarts {
                return ClientAction::Nothing;
            }
            self.have = Block(0);
        }
        let blksize = granted(options, b"blksize").unwrap_or(BLKSIZE_DEFAULT.into());
        let windowsize = granted(options, b"windowsize").unwrap_or(1);
        let told = granted(options, b"tsize");
        if !(8..=manners.blksize.into()).contains(&blksize)
            || !(1..=manners.windowsize.into()).contains(&windowsize)
        {
            return ClientAction::Failed(Failure::Refused);
        }
        if !self.keep(versions, |bytes| told.is_none_or(|told| told == bytes.len() as u64)) {
            return ClientAction::Failed(Failure::Wrong);
        }
        if self.probing {
            return ClientAction::Sized;
        }
        // Both are at most what is asked for, which has 16 bits.
        (self.blksize, self.windowsize) = (blksize as u16, windowsize as u16);
        self.heard(now, manners);
        ClientAction::Ack(0)
    }

    fn data(
        &mut self,
        now: Timestamp,
        manners: &Manners,
        versions: &[Vec<u8>],
        wire: u16,
        data: &[u8],
    ) -> ClientAction {
        let next = self.have + 1;
        if self.probing {
            // PXE-E99: EDK2 takes no file from a server that does not tell the size.
            return ClientAction::Failed(Failure::Refused);
        }
        if wire != next.wire() {
            self.in_window = 0;
            let say = manners.reack == Reack::Always || wire == self.have.wire();
            return if say { ClientAction::Ack(self.have.wire()) } else { ClientAction::Nothing };
        }
        let (offset, blksize) = (next.offset(self.blksize) as usize, usize::from(self.blksize));
        let is_right = |bytes: &[u8]| {
            let start = offset.min(bytes.len());
            data == &bytes[start..(start + blksize).min(bytes.len())]
        };
        if !self.keep(versions, is_right) {
            return ClientAction::Failed(Failure::Wrong);
        }
        self.heard(now, manners);
        self.have = next;
        self.in_window += 1;
        if data.len() < usize::from(self.blksize) {
            return ClientAction::Complete(next.wire());
        }
        if self.in_window >= self.windowsize {
            self.in_window = 0;
            return ClientAction::Ack(next.wire());
        }
        ClientAction::Nothing
    }

    /// Strikes the versions that it cannot be; whether any is left.
    fn keep(&mut self, versions: &[Vec<u8>], may_be: impl Fn(&[u8]) -> bool) -> bool {
        let bits = versions.iter().zip(0..u8::BITS).filter(|(bytes, _)| may_be(bytes));
        self.versions &= bits.fold(0, |bits, (_, bit)| bits | 1 << bit);
        self.versions != 0
    }

    fn heard(&mut self, now: Timestamp, manners: &Manners) {
        self.deadline = now + manners.waits.wait(0, true).unwrap_or_default();
        self.repeats = 0;
    }

    /// The deadline is over: repeats what went unanswered, or gives up.
    pub fn on_time(&mut self, now: Timestamp, manners: &Manners) -> ClientAction {
        if now < self.deadline {
            return ClientAction::Nothing;
        }
        self.repeats = self.repeats.saturating_add(1);
        let answered = self.server_port.is_some();
        let Some(wait) = manners.waits.wait(self.repeats, answered) else {
            return ClientAction::Failed(Failure::Silence);
        };
        self.deadline = now + wait;
        self.in_window = 0;
        if answered { ClientAction::Ack(self.have.wire()) } else { ClientAction::Request }
    }
}

/// The value of an OACK's option (RFC 2347), if it is there and a number.
fn granted(options: &[u8], name: &[u8]) -> Option<u64> {
    let mut words = options.split(|byte| *byte == 0);
    while let (Some(option), Some(value)) = (words.next(), words.next()) {
        if option.eq_ignore_ascii_case(name) {
            return std::str::from_utf8(value).ok()?.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests;
