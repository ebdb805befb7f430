//! Reads DHCP options in place (RFC 2132, RFC 3396).
//!
//! pxed does not use `dhcproto` (0.15), which the tests use as an independent decoder, for these reasons:
//!
//! - Its decoder allocates a vector for each option, but this code is the hot path when many machines start
//!   at once.
//! - It decodes option 82 into a tree of sub-options. Encoding it again sorts them and drops repeated ones,
//!   but RFC 3046 section 2.2 requires the same bytes.
//! - It reads only the first entry of the list in option 93.
//! - If it cannot read an option, such as 93 with one byte, it stops without an error.
//! - It joins the parts of an option only if they are neighbours (RFC 3396 section 5).
//! - It does not follow overload (52) into `file` and `sname`.
//!
//! `tests/dhcp/oracle.rs` shows the points about 82, 93 and parts.

use super::header::{FILE, OPTIONS_AT, SNAME};
use super::ignored::Malformed;

/// Codes of the options that pxed reads or writes.
pub(super) mod code {
    pub(crate) const PAD: u8 = 0;
    pub(crate) const VENDOR: u8 = 43;
    pub(crate) const REQUESTED_ADDRESS: u8 = 50;
    pub(crate) const OVERLOAD: u8 = 52;
    pub(crate) const MESSAGE_TYPE: u8 = 53;
    pub(crate) const SERVER_ID: u8 = 54;
    pub(crate) const MAX_SIZE: u8 = 57;
    pub(crate) const CLASS: u8 = 60;
    pub(crate) const CLIENT_ID: u8 = 61;
    pub(crate) const BOOT_FILE: u8 = 67;
    pub(crate) const USER_CLASS: u8 = 77;
    pub(crate) const RELAY_AGENT: u8 = 82;
    pub(crate) const ARCH: u8 = 93;
    pub(crate) const UUID: u8 = 97;
    pub(crate) const ETHERBOOT: u8 = 175;
    pub(crate) const CONFIG_FILE: u8 = 209;
    pub(crate) const PATH_PREFIX: u8 = 210;
    pub(crate) const END: u8 = 255;
}

/// The options of a request that pxed keeps. It skips all others.
const KEPT: [u8; 12] = [
    code::VENDOR,
    code::REQUESTED_ADDRESS,
    code::MESSAGE_TYPE,
    code::SERVER_ID,
    code::MAX_SIZE,
    code::CLASS,
    code::CLIENT_ID,
    code::USER_CLASS,
    code::RELAY_AGENT,
    code::ARCH,
    code::UUID,
    code::ETHERBOOT,
];

/// Size of the buffer for the joined parts of all split options of one request, in bytes. Two full
/// relay-agent options fit.
const SCRATCH: usize = 512;

/// Iterates over code-length-value items: DHCP options, or the sub-options in 43.
///
/// It skips pads, and stops at END or at the end of the bytes. RFC 2131 requires END, but some clients omit
/// it. If an item runs past the end, the iterator returns one error and then stops.
#[derive(Clone, Debug)]
pub(super) struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<(u8, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while let [code::PAD, rest @ ..] = self.0 {
            self.0 = rest;
        }
        let (item, rest) = match self.0 {
            [] | [code::END, ..] => (None, &[][..]),
            [code, len, rest @ ..] if rest.len() >= usize::from(*len) => {
                let (value, rest) = rest.split_at(usize::from(*len));
                (Some(Ok((*code, value))), rest)
            }
            _ => (Some(Err(Malformed::OptionPastEnd)), &[][..]),
        };
        self.0 = rest;
        item
    }
}

/// Where the bytes of a kept option are.
#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    Absent,
    Whole(&'a [u8]),
    /// The option has more than one part, which are joined in the scratch buffer at `start`.
    Split {
        start: usize,
        len: usize,
    },
}

/// The kept options of one packet. It borrows the packet, and copies only the options that came in parts.
#[derive(Clone, Debug)]
pub(super) struct Options<'a> {
    places: [Place<'a>; KEPT.len()],
    scratch: [u8; SCRATCH],
}

impl<'a> Options<'a> {
    /// Reads the options of `packet`, which must contain the whole BOOTP message.
    ///
    /// # Errors
    /// When an option runs past the end of its field, when split options have more than 512 bytes together,
    /// or when the packet is too short.
    pub(super) fn parse(packet: &'a [u8]) -> Result<Self, Malformed> {
        let fields = fields(packet)?;
        let mut this = Self { places: [Place::Absent; KEPT.len()], scratch: [0; SCRATCH] };
        let mut split = false;
        for item in fields.iter().flat_map(|field| Items::new(field)) {
            let (code, value) = item?;
            if let Some(slot) = slot(code) {
                let place = &mut this.places[slot];
                *place = match place {
                    Place::Absent => Place::Whole(value),
                    Place::Whole(_) | Place::Split { .. } => {
                        split = true;
                        Place::Split { start: 0, len: 0 }
                    }
                };
            }
        }
        if split {
            this.join(&fields)?;
        }
        Ok(this)
    }

    /// Joins the options that came in parts, in the order of RFC 3396 sections 5 and 7.
    fn join(&mut self, fields: &[&'a [u8]; 3]) -> Result<(), Malformed> {
        let mut used = 0;
        for (place, kept) in self.places.iter_mut().zip(KEPT) {
            if !matches!(place, Place::Split { .. }) {
                continue;
            }
            let start = used;
            for item in fields.iter().flat_map(|field| Items::new(field)) {
                let (code, value) = item?;
                if code == kept {
                    let room = self.scratch.get_mut(used..used + value.len());
                    room.ok_or(Malformed::SplitTooLong)?.copy_from_slice(value);
                    used += value.len();
                }
            }
            *place = Place::Split { start, len: used - start };
        }
        Ok(())
    }

    /// Returns the bytes of an option; `None` if the option is absent or is not kept.
    pub(super) fn get(&self, code: u8) -> Option<&[u8]> {
        match *self.places.get(slot(code)?)? {
            Place::Absent => None,
            Place::Whole(value) => Some(value),
            Place::Split { start, len } => self.scratch.get(start..start + len),
        }
    }
}

fn slot(code: u8) -> Option<usize> {
    KEPT.iter().position(|kept| *kept == code)
}

/// Returns the fields that hold options, in the order in which their options are joined: the options field,
/// then `file`, then `sname` (RFC 3396 section 5). Values of 52 other than 1, 2 and 3 have no meaning (RFC
/// 2132 section 9.3) and are ignored.
fn fields(packet: &[u8]) -> Result<[&[u8]; 3], Malformed> {
    let options = packet.get(OPTIONS_AT..).ok_or(Malformed::Short)?;
    let mut overload = 0;
    for item in Items::new(options) {
        if let (code::OVERLOAD, [value, ..]) = item? {
            overload = *value;
        }
    }
    let file = packet.get(FILE).filter(|_| matches!(overload, 1 | 3));
    let sname = packet.get(SNAME).filter(|_| matches!(overload, 2 | 3));
    Ok([options, file.unwrap_or_default(), sname.unwrap_or_default()])
}

#[cfg(test)]
mod tests {
    use super::super::header::{COOKIE, COOKIE_AT};
    use super::*;

    fn packet(sname: &[u8], file: &[u8], options: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; OPTIONS_AT];
        packet[SNAME][..sname.len()].copy_from_slice(sname);
        packet[FILE][..file.len()].copy_from_slice(file);
        packet[COOKIE_AT..OPTIONS_AT].copy_from_slice(&COOKIE);
        packet.extend_from_slice(options);
        packet
    }

    #[test]
    fn pads_are_skipped_and_nothing_after_end_is_read() {
        let p = packet(b"", b"", &[0, 0, 53, 1, 1, 0, 255, 60, 2, b'P', b'X']);
        let o = Options::parse(&p).expect("well formed");
        assert_eq!((o.get(53), o.get(60)), (Some(&[1][..]), None));
    }

    #[test]
    fn a_missing_end_is_tolerated() {
        let p = packet(b"", b"", &[53, 1, 1, 60, 0]);
        let o = Options::parse(&p).expect("well formed");
        assert_eq!((o.get(53), o.get(60)), (Some(&[1][..]), Some(&[][..])));
    }

    #[test]
    fn an_option_past_the_end_is_malformed() {
        for tail in [&[60][..], &[60, 1], &[60, 255, 1, 2], &[53, 1, 1, 97, 17, 0]] {
            assert_eq!(
                Options::parse(&packet(b"", b"", tail)).err(),
                Some(Malformed::OptionPastEnd),
                "{tail:?}"
            );
        }
    }

    /// RFC 3396 section 5: first the options field, then `file`, then `sname`.
    #[test]
    fn split_options_are_joined_in_the_order_of_rfc_3396() {
        let p = packet(&[82, 1, 5], &[82, 2, 3, 4, 60, 1, b'B'], &[82, 2, 1, 2, 52, 1, 3, 60, 1, b'A', 255]);
        let o = Options::parse(&p).expect("well formed");
        assert_eq!(o.get(82), Some(&[1, 2, 3, 4, 5][..]));
        assert_eq!(o.get(60), Some(&b"AB"[..]));
    }

    #[test]
    fn overload_selects_its_field_only_and_0_and_4_select_none() {
        for (overload, expected) in [(0, None), (1, Some(7)), (2, Some(9)), (4, None), (255, None)] {
            let p = packet(&[53, 1, 9, 255], &[53, 1, 7, 255], &[52, 1, overload, 255]);
            let o = Options::parse(&p).expect("well formed");
            assert_eq!(o.get(53).map(|v| v[0]), expected, "overload {overload}");
        }
    }

    #[test]
    fn more_split_bytes_than_the_scratch_space_are_refused() {
        let mut part = vec![82, 255];
        part.resize(257, 7);
        let p = packet(b"", b"", &part.repeat(2));
        assert_eq!(Options::parse(&p).expect("510 bytes fit").get(82).map(<[u8]>::len), Some(510));
        let p = packet(b"", b"", &part.repeat(3));
        assert_eq!(Options::parse(&p).err(), Some(Malformed::SplitTooLong));
    }
}
