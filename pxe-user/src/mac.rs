//! The Ethernet address by which a machine is known.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use arrayvec::ArrayString;

/// An Ethernet address (in DHCP: `chaddr` with htype 1, hlen 6).
///
/// A machine is known by this and never by its `xid`: iPXE's boot-server requests all carry xid 0, and its EFI
/// builds repeat the same xids after every power-on (docs/clients.md, section 1).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// As in file names: `52-54-00-12-34-56`.
    #[must_use]
    pub fn dashed(self) -> ArrayString<17> {
        let mut text = ArrayString::new();
        for (index, byte) in self.0.iter().enumerate() {
            let dash = if index > 0 { "-" } else { "" };
            // Seventeen characters fit by their number.
            let _ = write!(text, "{dash}{byte:02x}");
        }
        text
    }

    /// Reads [`Self::dashed`], in either case.
    #[must_use]
    pub fn from_dashed(text: &[u8]) -> Option<Self> {
        if text.len() != 17 {
            return None;
        }
        let mut bytes = [0; 6];
        for (byte, part) in bytes.iter_mut().zip(text.split(|byte| *byte == b'-')) {
            let digits =
                std::str::from_utf8(part).ok().filter(|part| part.len() == 2 && !part.starts_with('+'))?;
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Whether the vendor part belongs to Raspberry Pi (their OUIs as far as seen in use; newer
    /// boards name themselves in option 97 too).
    #[must_use]
    pub fn is_raspberry_pi(self) -> bool {
        const OUIS: [[u8; 3]; 7] = [
            [0xb8, 0x27, 0xeb],
            [0xdc, 0xa6, 0x32],
            [0xe4, 0x5f, 0x01],
            [0x28, 0xcd, 0xc1],
            [0xd8, 0x3a, 0xdd],
            [0x2c, 0xcf, 0x67],
            [0x88, 0xa2, 0x9e],
        ];
        OUIS.iter().any(|oui| self.0.starts_with(oui))
    }
}

/// Not six hexadecimal numbers with colons between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an Ethernet address looks like 52:54:00:12:34:56")]
pub struct InvalidMac;

impl FromStr for Mac {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part =
                parts.next().filter(|part| part.len() == 2 && !part.starts_with('+')).ok_or(InvalidMac)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| InvalidMac)?;
        }
        if parts.next().is_some() { Err(InvalidMac) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        let mac = Mac([0x52, 0x54, 0, 0x99, 0xfe, 2]);
        assert_eq!(mac.to_string().parse(), Ok(mac));
        for wrong in ["52:54:00:99:fe", "52:54:00:99:fe:02:03", "52:54:00:99:fe:+2", "", "525400:99:fe:02"] {
            assert_eq!(wrong.parse::<Mac>(), Err(InvalidMac), "{wrong}");
        }
        assert_eq!(&*mac.dashed(), "52-54-00-99-fe-02");
        assert_eq!(Mac::from_dashed(b"52-54-00-99-FE-02"), Some(mac));
        for wrong in ["52-54-00-99-fe-0", "52-54-00-99-fe-022", "52:54:00:99:fe:02", "52-54-00-99-fe002"] {
            assert_eq!(Mac::from_dashed(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
