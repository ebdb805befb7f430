//! Reads memory modules from a machine's SMBIOS structure table. The table comes from a stranger, so each
//! access checks its bounds.
//!
//! Source: DMTF DSP0134 (SMBIOS 3.7), sections 6.1.2 and 6.1.3 (structures and their strings), 7.18 (type
//! 17), 7.20 and 7.21 (types 19 and 20).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::board::Dimm;
use super::report::BODY_MAX;
use super::text::{clean, clean_some};

/// Maximum number of structures that are read. Real tables have a few hundred at most.
const STRUCTURES_MAX: usize = 4096;
/// Maximum number of address ranges that are kept.
const MAPPED_MAX: usize = 512;

/// A range of physical addresses, and its module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapped {
    /// The first physical address.
    pub first: u64,
    /// The last physical address, included.
    pub last: u64,
    /// The slot's label, as in [`Dimm::slot`]. `None` if the module is unknown, for example where several
    /// modules share the range (interleaving).
    pub slot: Option<String>,
}

/// What an SMBIOS table says about memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// All slots, including empty ones.
    pub dimms: Vec<Dimm>,
    /// Address ranges and their modules, as far as the table has them.
    pub mapped: Vec<Mapped>,
}

/// Decodes base64, with or without line ends. Returns `None` if the text is no base64, or is longer than
/// [`BODY_MAX`].
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    if text.len() > BODY_MAX {
        return None;
    }
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(digits).ok()
}

/// Reads a table. Leaves out structures that are damaged.
#[must_use]
pub fn read(table: &[u8]) -> Inventory {
    let structures: Vec<_> = Structures { rest: table }.take(STRUCTURES_MAX).collect();
    let devices: Vec<_> = structures.iter().filter_map(Device::read).collect();
    let mut mapped: Vec<_> =
        structures.iter().filter_map(|structure| of_device(structure, &devices)).collect();
    if mapped.is_empty() {
        mapped = structures.iter().filter_map(|structure| of_array(structure, &devices)).collect();
    }
    mapped.truncate(MAPPED_MAX);
    Inventory { dimms: devices.into_iter().map(|device| device.dimm).collect(), mapped }
}

/// Returns the slot of the module at an address (`0x` and hexadecimal digits), if exactly one range contains
/// it and names a slot.
#[must_use]
pub fn dimm_at<'a>(mapped: &'a [Mapped], address: &str) -> Option<&'a str> {
    let digits = address.strip_prefix("0x").or_else(|| address.strip_prefix("0X"))?;
    let address = u64::from_str_radix(digits, 16).ok()?;
    let mut covering = mapped.iter().filter(|range| (range.first..=range.last).contains(&address));
    let only = covering.next().filter(|_| covering.next().is_none())?;
    only.slot.as_deref()
}

/// One structure: its formatted part, and the strings that follow it.
#[derive(Clone, Copy)]
struct Structure<'a> {
    formatted: &'a [u8],
    strings: &'a [u8],
}

struct Structures<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Structures<'a> {
    type Item = Structure<'a>;

    fn next(&mut self) -> Option<Structure<'a>> {
        let length = usize::from(*self.rest.get(1)?);
        if length < 4 {
            return None;
        }
        let (formatted, behind) = self.rest.split_at_checked(length)?;
        let end = behind.windows(2).position(|pair| pair == [0, 0])?;
        self.rest = behind.get(end + 2..)?;
        // Type 127 ends the table (section 7.45).
        (formatted.first() != Some(&127)).then_some(Structure { formatted, strings: &behind[..end] })
    }
}

impl Structure<'_> {
    fn kind(&self) -> u8 {
        self.formatted.first().copied().unwrap_or_default()
    }

    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.formatted.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }

    fn word(&self, offset: usize) -> Option<u16> {
        self.bytes(offset).map(u16::from_le_bytes)
    }

    fn dword(&self, offset: usize) -> Option<u32> {
        self.bytes(offset).map(u32::from_le_bytes)
    }

    fn qword(&self, offset: usize) -> Option<u64> {
        self.bytes(offset).map(u64::from_le_bytes)
    }

    /// Returns the string whose number is at `offset`. Strings are numbered from 1, and 0 means no string.
    fn text(&self, offset: usize) -> Option<String> {
        let number = usize::from(*self.formatted.get(offset)?).checked_sub(1)?;
        let bytes = self.strings.split(|byte| *byte == 0).nth(number)?;
        clean_some(&String::from_utf8_lossy(bytes))
    }

    /// Returns the string at `offset`, unless it is one of the phrases that vendors write for a missing
    /// value.
    fn known(&self, offset: usize) -> Option<String> {
        let nothing = ["not specified", "unknown", "none", "no dimm", "n/a"];
        self.text(offset).filter(|text| !nothing.iter().any(|word| text.eq_ignore_ascii_case(word)))
    }

    /// Returns the first and last address of a mapped range. The fields at 4 and 8 are in KiB. If they are
    /// too small for the range, the fields at `extended` hold bytes.
    fn range(&self, extended: usize) -> Option<(u64, u64)> {
        let (start, end) = (self.dword(4)?, self.dword(8)?);
        let (first, last) = if start == u32::MAX {
            (self.qword(extended)?, self.qword(extended + 8)?)
        } else {
            (u64::from(start) << 10, (u64::from(end) << 10) | 0x3ff)
        };
        (first <= last).then_some((first, last))
    }
}

/// A memory device (type 17).
struct Device {
    handle: u16,
    array: u16,
    dimm: Dimm,
}

impl Device {
    fn read(structure: &Structure<'_>) -> Option<Self> {
        if structure.kind() != 17 {
            return None;
        }
        let size = match structure.word(0x0c)? {
            0 | 0xffff => 0,
            0x7fff => u64::from(structure.dword(0x1c)? & 0x7fff_ffff) << 20,
            kibibytes if kibibytes & 0x8000 != 0 => u64::from(kibibytes & 0x7fff) << 10,
            mebibytes => u64::from(mebibytes) << 20,
        };
        let speed = match structure.word(0x15) {
            None | Some(0) => None,
            Some(0xffff) => structure.dword(0x54).map(|speed| speed & 0x7fff_ffff).filter(|speed| *speed > 0),
            Some(speed) => Some(u32::from(speed)),
        };
        let dimm = Dimm {
            slot: structure.text(0x10).unwrap_or_else(|| "?".into()),
            size,
            kind: structure.formatted.get(0x12).and_then(|kind| kind_name(*kind)).map(clean),
            speed,
            manufacturer: structure.known(0x17),
            part: structure.known(0x1a),
            serial: structure.known(0x18),
        };
        Some(Self { handle: structure.word(2)?, array: structure.word(4)?, dimm })
    }
}

/// The name of a memory type: the values of table 77 that are in use.
fn kind_name(kind: u8) -> Option<&'static str> {
    Some(match kind {
        0x07 => "RAM",
        0x0f => "SDRAM",
        0x12 => "DDR",
        0x13 => "DDR2",
        0x14 => "DDR2 FB-DIMM",
        0x18 => "DDR3",
        0x1a => "DDR4",
        0x1b => "LPDDR",
        0x1c => "LPDDR2",
        0x1d => "LPDDR3",
        0x1e => "LPDDR4",
        0x20 => "HBM",
        0x21 => "HBM2",
        0x22 => "DDR5",
        0x23 => "LPDDR5",
        0x24 => "HBM3",
        _ => return None,
    })
}

/// Reads type 20: the addresses of one device. An interleaved range belongs to several devices, so it names
/// no slot.
fn of_device(structure: &Structure<'_>, devices: &[Device]) -> Option<Mapped> {
    if structure.kind() != 20 {
        return None;
    }
    let (first, last) = structure.range(0x13)?;
    let handle = structure.word(0x0c)?;
    // Offset 0x11 is the interleave position: 0 means not interleaved. If the byte is missing or 0xff
    // (unknown), the range may be interleaved.
    let alone = structure.formatted.get(0x11) == Some(&0);
    let slot = devices.iter().find(|device| device.handle == handle).filter(|_| alone);
    Some(Mapped { first, last, slot: slot.map(|device| device.dimm.slot.clone()) })
}

/// Reads type 19: the addresses of an array of devices. The range names a slot only if exactly one slot of
/// the array is filled.
fn of_array(structure: &Structure<'_>, devices: &[Device]) -> Option<Mapped> {
    if structure.kind() != 19 {
        return None;
    }
    let (first, last) = structure.range(0x0f)?;
    let array = structure.word(0x0c)?;
    let mut filled = devices.iter().filter(|device| device.array == array && device.dimm.size > 0);
    let only = filled.next().filter(|_| filled.next().is_none());
    Some(Mapped { first, last, slot: only.map(|device| device.dimm.slot.clone()) })
}

#[cfg(test)]
mod tests;
