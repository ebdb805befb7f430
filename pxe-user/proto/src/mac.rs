//! The Ethernet address, by which pxed identifies a machine.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use arrayvec::ArrayString;

/// An Ethernet address (in DHCP: `chaddr` with htype 1 and hlen 6).
///
/// pxed identifies a machine by this address and never by its `xid`: all boot-server requests of iPXE have
/// xid 0, and its EFI builds use the same xids after every power-on (docs/clients.md, section 1).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Returns the notation for file names: `52-54-00-12-34-56`.
    #[must_use]
    pub fn dashed(self) -> ArrayString<17> {
        let mut text = ArrayString::new();
        for (index, byte) in self.0.iter().enumerate() {
            let dash = if index > 0 { "-" } else { "" };
            // The text has exactly 17 characters, so the write cannot fail.
            let _ = write!(text, "{dash}{byte:02x}");
        }
        text
    }

    /// Parses the notation of [`Self::dashed`], in upper or lower case.
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

    /// Whether the vendor part belongs to Raspberry Pi. The list has the OUIs that were seen in use; newer
    /// boards also identify themselves in option 97.
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

/// The text has none of the notations of an Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an Ethernet address looks like 52:54:00:12:34:56, 52-54-00-12-34-56 or 5254.0012.3456")]
pub struct InvalidMac;

impl FromStr for Mac {
    type Err = InvalidMac;

    /// Parses the notations of Linux, Windows and Cisco, in upper or lower case.
    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let (separator, digits, parts) = match text {
            _ if text.contains(':') => (':', 2, 6),
            _ if text.contains('-') => ('-', 2, 6),
            _ => ('.', 4, 3),
        };
        if text.split(separator).count() != parts {
            return Err(InvalidMac);
        }
        let mut number = 0;
        for part in text.split(separator) {
            let is_hex = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            let part = is_hex.then(|| u64::from_str_radix(part, 16).ok()).flatten().ok_or(InvalidMac)?;
            number = number << (4 * digits) | part;
        }
        let [_, _, bytes @ ..] = u64::to_be_bytes(number);
        Ok(Self(bytes))
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
        for same in [&*mac.to_string(), "52:54:00:99:FE:02", "52-54-00-99-fe-02", "5254.0099.fe02"] {
            assert_eq!(same.parse(), Ok(mac), "{same}");
        }
        for wrong in [
            "52:54:00:99:fe",
            "52:54:00:99:fe:02:03",
            "52:54:00:99:fe:+2",
            "",
            "525400:99:fe:02",
            "52:54-00:99:fe:02",
            "5254.0099",
            "5254.0099.fe02.0001",
            "5254.0099.+e02",
            "52540099fe02",
        ] {
            assert_eq!(wrong.parse::<Mac>(), Err(InvalidMac), "{wrong}");
        }
        assert_eq!(&*mac.dashed(), "52-54-00-99-fe-02");
        assert_eq!(Mac::from_dashed(b"52-54-00-99-FE-02"), Some(mac));
        for wrong in ["52-54-00-99-fe-0", "52-54-00-99-fe-022", "52:54:00:99:fe:02", "52-54-00-99-fe002"] {
            assert_eq!(Mac::from_dashed(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
