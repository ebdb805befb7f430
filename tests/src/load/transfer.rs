//! One file's transfer on a machine's side: asks, acknowledges, compares every byte. Pure, as the server's side is.

use pxe_user::tftp::Block;
use pxe_user::time::Timestamp;

use super::manners::{Manners, Reack};

/// Bytes per block where nobody agreed on another number (RFC 1350).
const BLKSIZE_DEFAULT: u16 = 512;
/// ERROR code for a file that is not there (RFC 1350).
const NOT_FOUND: u8 = 1;

/// What a machine does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
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

    /// A packet from the server's port `port`. `versions` are the file's, none if it must be missing.
    pub fn receive(
        &mut self,
        now: Timestamp,
        manners: &Manners,
        versions: Option<&[Vec<u8>]>,
        port: u16,
        packet: &[u8],
    ) -> Step {
        if *self.server_port.get_or_insert(port) != port {
            return Step::Nothing;
        }
        match (packet, versions) {
            ([0, 5, 0, NOT_FOUND, ..], None) => Step::Missing,
            ([0, 5, ..], _) | ([0, 3 | 6, ..], None) => Step::Failed(Failure::Refused),
            ([0, 6, granted @ ..], Some(versions)) => self.oack(now, manners, versions, granted),
            ([0, 3, high, low, data @ ..], Some(versions)) => {
                self.data(now, manners, versions, u16::from_be_bytes([*high, *low]), data)
            }
            _ => Step::Nothing,
        }
    }

    fn oack(&mut self, now: Timestamp, manners: &Manners, versions: &[Vec<u8>], options: &[u8]) -> Step {
        if self.have != Block(0) {
            if !manners.oack_restarts {
                return Step::Nothing;
            }
            self.have = Block(0);
        }
        let blksize = granted(options, b"blksize").unwrap_or(BLKSIZE_DEFAULT.into());
        let windowsize = granted(options, b"windowsize").unwrap_or(1);
        let told = granted(options, b"tsize");
        if !(8..=manners.blksize.into()).contains(&blksize)
            || !(1..=manners.windowsize.into()).contains(&windowsize)
        {
            return Step::Failed(Failure::Refused);
        }
        if !self.keep(versions, |bytes| told.is_none_or(|told| told == bytes.len() as u64)) {
            return Step::Failed(Failure::Wrong);
        }
        if self.probing {
            return Step::Sized;
        }
        // Both are at most what is asked for, which has 16 bits.
        (self.blksize, self.windowsize) = (blksize as u16, windowsize as u16);
        self.heard(now, manners);
        Step::Ack(0)
    }

    fn data(
        &mut self,
        now: Timestamp,
        manners: &Manners,
        versions: &[Vec<u8>],
        wire: u16,
        data: &[u8],
    ) -> Step {
        let next = self.have + 1;
        if self.probing {
            // PXE-E99: EDK2 takes no file from a server that does not tell the size.
            return Step::Failed(Failure::Refused);
        }
        if wire != next.wire() {
            self.in_window = 0;
            let say = manners.reack == Reack::Always || wire == self.have.wire();
            return if say { Step::Ack(self.have.wire()) } else { Step::Nothing };
        }
        let (offset, blksize) = (next.offset(self.blksize) as usize, usize::from(self.blksize));
        let is_right = |bytes: &[u8]| {
            let start = offset.min(bytes.len());
            data == &bytes[start..(start + blksize).min(bytes.len())]
        };
        if !self.keep(versions, is_right) {
            return Step::Failed(Failure::Wrong);
        }
        self.heard(now, manners);
        self.have = next;
        self.in_window += 1;
        if data.len() < usize::from(self.blksize) {
            return Step::Complete(next.wire());
        }
        if self.in_window >= self.windowsize {
            self.in_window = 0;
            return Step::Ack(next.wire());
        }
        Step::Nothing
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
    pub fn on_time(&mut self, now: Timestamp, manners: &Manners) -> Step {
        if now < self.deadline {
            return Step::Nothing;
        }
        self.repeats = self.repeats.saturating_add(1);
        let answered = self.server_port.is_some();
        let Some(wait) = manners.waits.wait(self.repeats, answered) else {
            return Step::Failed(Failure::Silence);
        };
        self.deadline = now + wait;
        self.in_window = 0;
        if answered { Step::Ack(self.have.wire()) } else { Step::Request }
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
mod tests {
    use super::*;
    use crate::load::manners::Kind;

    const TID: u16 = 61000;
    const NOW: Timestamp = Timestamp::from_micros(1);

    fn file() -> Vec<u8> {
        (0..=255).cycle().take(3000).collect()
    }

    fn block(number: u16) -> Vec<u8> {
        let start = usize::from(number - 1) * 1024;
        [&[0, 3, 0, number as u8], &file()[start..(start + 1024).min(3000)]].concat()
    }

    fn begin(manners: &Manners, oack: &[u8]) -> (Transfer, Step) {
        let mut transfer = Transfer::start(NOW, manners, manners.probe.is_some());
        let step = transfer.receive(NOW, manners, Some(&[file()]), TID, &[b"\0\x06", oack].concat());
        (transfer, step)
    }

    fn take(transfer: &mut Transfer, manners: &Manners, number: u16) -> Step {
        transfer.receive(NOW, manners, Some(&[file()]), TID, &block(number))
    }

    #[test]
    fn a_file_comes_in_lock_step_and_in_windows() {
        for (windowsize, steps) in [
            (1, [Step::Ack(1), Step::Ack(2), Step::Complete(3)]),
            (4, [Step::Nothing, Step::Nothing, Step::Complete(3)]),
        ] {
            let manners = Manners::of(Kind::Plain, 1024, windowsize);
            let oack = format!("blksize\x001024\0tsize\x003000\0windowsize\x00{windowsize}\0");
            let (mut transfer, step) = begin(&manners, oack.as_bytes());
            assert_eq!(step, Step::Ack(0));
            for (number, step) in (1..).zip(steps) {
                assert_eq!(take(&mut transfer, &manners, number), step);
            }
        }
    }

    #[test]
    fn a_server_without_windows_is_answered_block_by_block() {
        let manners = Manners::of(Kind::Plain, 1024, 4);
        let (mut transfer, _) = begin(&manners, b"tsize\x003000\0blksize\x001024\0");
        assert_eq!(take(&mut transfer, &manners, 1), Step::Ack(1));
    }

    #[test]
    fn options_are_found_by_name_only() {
        assert_eq!(granted(b"tsize\x003000\0BLKSIZE\x001024\0", b"blksize"), Some(1024));
        assert_eq!(granted(b"blksize\x001024\0", b"windowsize"), None);
        assert_eq!(granted(b"x\0blksize\x00512\0", b"blksize"), None);
        assert_eq!(granted(b"blksize\0\0", b"blksize"), None);
    }

    #[test]
    fn blocks_of_two_versions_are_wrong_and_those_of_either_are_right() {
        let manners = Manners::of(Kind::Plain, 1024, 1);
        let newer: Vec<u8> = file().iter().map(|byte| !byte).collect();
        let versions = [file(), newer];
        let of_newer = |number| {
            let mut packet = block(number);
            packet[4..].iter_mut().for_each(|byte| *byte = !*byte);
            packet
        };
        let mut transfer = Transfer::start(NOW, &manners, false);
        let mut take = |packet: &[u8]| transfer.receive(NOW, &manners, Some(&versions), TID, packet);
        assert_eq!(take(b"\0\x06blksize\x001024\0tsize\x003000\0"), Step::Ack(0));
        assert_eq!(take(&of_newer(1)), Step::Ack(1));
        assert_eq!(take(&of_newer(2)), Step::Ack(2));
        assert_eq!(take(&block(3)), Step::Failed(Failure::Wrong));
        let mut transfer = Transfer::start(NOW, &manners, false);
        let mut take = |packet: &[u8]| transfer.receive(NOW, &manners, Some(&versions), TID, packet);
        take(b"\0\x06blksize\x001024\0");
        for number in 1..=3 {
            take(&of_newer(number));
        }
        assert!(transfer.is_later_version());
    }

    #[test]
    fn wrong_bytes_and_wrong_sizes_are_told_from_refusals() {
        let manners = Manners::of(Kind::Plain, 1024, 1);
        let (mut transfer, _) = begin(&manners, b"blksize\x001024\0");
        let mut data = block(1);
        data[700] ^= 1;
        let step = transfer.receive(NOW, &manners, Some(&[file()]), TID, &data);
        assert_eq!(step, Step::Failed(Failure::Wrong));
        assert_eq!(begin(&manners, b"tsize\x002999\0").1, Step::Failed(Failure::Wrong));
        assert_eq!(begin(&manners, b"blksize\x001025\0").1, Step::Failed(Failure::Refused));
        assert_eq!(begin(&manners, b"windowsize\x002\0").1, Step::Failed(Failure::Refused));
    }

    #[test]
    fn a_block_that_ends_too_early_is_wrong() {
        let manners = Manners::of(Kind::Plain, 1024, 1);
        let (mut transfer, _) = begin(&manners, b"blksize\x001024\0");
        let step = transfer.receive(NOW, &manners, Some(&[file()]), TID, &block(1)[..1000]);
        assert_eq!(step, Step::Failed(Failure::Wrong));
    }

    #[test]
    fn the_probe_of_edk2_ends_with_the_size() {
        let manners = Manners::of(Kind::Edk2, 0, 0);
        assert_eq!(begin(&manners, b"tsize\x003000\0blksize\x001468\0windowsize\x004\0").1, Step::Sized);
        let mut transfer = Transfer::start(NOW, &manners, true);
        assert_eq!(take(&mut transfer, &manners, 1), Step::Failed(Failure::Refused));
    }

    #[test]
    fn a_look_up_wants_to_hear_that_there_is_nothing() {
        let manners = Manners::of(Kind::Pxelinux, 0, 0);
        let answer =
            |packet: &[u8]| Transfer::start(NOW, &manners, false).receive(NOW, &manners, None, TID, packet);
        assert_eq!(answer(b"\0\x05\0\x01no\0"), Step::Missing);
        assert_eq!(answer(b"\0\x05\0\x02no\0"), Step::Failed(Failure::Refused));
        assert_eq!(answer(b"\0\x06tsize\x001\0"), Step::Failed(Failure::Refused));
        let found = Transfer::start(NOW, &manners, false).receive(
            NOW,
            &manners,
            Some(&[vec![]]),
            TID,
            b"\0\x05\0\x01",
        );
        assert_eq!(found, Step::Failed(Failure::Refused));
    }

    #[test]
    fn unexpected_blocks_are_answered_as_each_client_does() {
        for (kind, duplicate, ahead) in [
            (Kind::Plain, Step::Ack(1), Step::Nothing),
            (Kind::Ipxe, Step::Ack(1), Step::Ack(1)),
            (Kind::Grub, Step::Ack(1), Step::Nothing),
        ] {
            let manners = Manners::of(kind, 1024, 1);
            let (mut transfer, _) = begin(&manners, b"blksize\x001024\0");
            take(&mut transfer, &manners, 1);
            assert_eq!(take(&mut transfer, &manners, 1), duplicate, "{kind:?}");
            assert_eq!(take(&mut transfer, &manners, 3), ahead, "{kind:?}");
            assert_eq!(take(&mut transfer, &manners, 2), Step::Ack(2), "{kind:?}");
        }
    }

    #[test]
    fn an_oack_that_comes_again_sets_only_grub_back() {
        for (kind, step) in [(Kind::Ipxe, Step::Nothing), (Kind::Grub, Step::Ack(0))] {
            let manners = Manners::of(kind, 0, 0);
            let (mut transfer, _) = begin(&manners, b"blksize\x001024\0");
            take(&mut transfer, &manners, 1);
            let again = transfer.receive(NOW, &manners, Some(&[file()]), TID, b"\0\x06blksize\x001024\0");
            assert_eq!(again, step, "{kind:?}");
        }
    }

    #[test]
    fn silence_is_answered_by_repeats_and_then_by_giving_up() {
        let at = |time: u64| Timestamp::from_micros(time * 100_000_000);
        for (kind, repeats) in [(Kind::Plain, 10), (Kind::Ipxe, 5), (Kind::Edk2, 5), (Kind::Grub, 39)] {
            let manners = Manners::of(kind, 1024, 1);
            let mut transfer = Transfer::start(Timestamp::default(), &manners, false);
            for time in 1..=repeats {
                assert_eq!(transfer.on_time(at(time), &manners), Step::Request, "{kind:?} {time}");
            }
            assert_eq!(
                transfer.on_time(at(repeats + 1), &manners),
                Step::Failed(Failure::Silence),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn grub_never_repeats_an_acknowledgement_and_others_do() {
        let late = Timestamp::from_micros(40_000_000);
        for (kind, step) in [(Kind::Grub, Step::Failed(Failure::Silence)), (Kind::Pxelinux, Step::Ack(0))] {
            let manners = Manners::of(kind, 0, 0);
            let (mut transfer, _) = begin(&manners, b"blksize\x001024\0");
            assert_eq!(transfer.on_time(late, &manners), step);
        }
    }

    #[test]
    fn strangers_are_not_heard() {
        let manners = Manners::of(Kind::Plain, 1024, 1);
        let (mut transfer, _) = begin(&manners, b"blksize\x001024\0");
        assert_eq!(transfer.receive(NOW, &manners, Some(&[file()]), TID + 1, &block(1)), Step::Nothing);
    }
}
