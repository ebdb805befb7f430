//! Writes a BOOTREPLY into the caller's buffer: header, options, END, padding.

use std::net::Ipv4Addr;

use super::header::{self, Header};
use super::ignored::Ignored;
use super::options::code;

/// Smallest message that all clients accept, in bytes: 236 bytes of BOOTP header and the 64-byte vendor area
/// (RFC 951).
const MIN: usize = 300;

/// A reply under construction. It always keeps room for END, so that a value that does not fit is an error,
/// and never leads to a truncated packet.
pub(super) struct Writer<'o> {
    out: &'o mut [u8],
    at: usize,
}

impl<'o> Writer<'o> {
    /// Starts a reply of at most `limit` bytes, with the header that answers `request`: htype, hlen, xid,
    /// flags, giaddr and chaddr are copied, all other fields are zero (RFC 2131 table 3).
    ///
    /// A relay always gets the broadcast flag, whatever the client has set. Without the flag it sends to
    /// yiaddr (RFC 1542 section 5.4), which is 0 because pxed assigns no address.
    pub(super) fn new(out: &'o mut [u8], limit: usize, request: &Header) -> Result<Self, Ignored> {
        let limit = limit.min(out.len());
        let out = out.get_mut(..limit).ok_or(Ignored::DoesNotFit)?;
        if out.len() < MIN {
            return Err(Ignored::DoesNotFit);
        }
        let mut writer = Self { out, at: header::OPTIONS_AT };
        let header = writer.header()?;
        header.fill(0);
        header[header::OP] = header::BOOTREPLY;
        header[header::HTYPE] = request[header::HTYPE];
        header[header::HLEN] = request[header::HLEN];
        for range in [header::XID, header::FLAGS, header::GIADDR, header::CHADDR] {
            header[range.clone()].copy_from_slice(&request[range]);
        }
        if header[header::GIADDR] != [0; 4] {
            header[header::FLAGS].copy_from_slice(&header::BROADCAST.to_be_bytes());
        }
        header[header::COOKIE_AT..].copy_from_slice(&header::COOKIE);
        Ok(writer)
    }

    fn header(&mut self) -> Result<&mut Header, Ignored> {
        self.out.first_chunk_mut().ok_or(Ignored::DoesNotFit)
    }

    pub(super) fn ciaddr(&mut self, address: Ipv4Addr) -> Result<(), Ignored> {
        self.header()?[header::CIADDR].copy_from_slice(&address.octets());
        Ok(())
    }

    pub(super) fn siaddr(&mut self, address: Ipv4Addr) -> Result<(), Ignored> {
        self.header()?[header::SIADDR].copy_from_slice(&address.octets());
        Ok(())
    }

    /// Writes `file`. The NUL behind the name is part of the field's 128 bytes.
    pub(super) fn file(&mut self, name: &[u8]) -> Result<(), Ignored> {
        let field = &mut self.header()?[header::FILE];
        if name.len() >= field.len() {
            return Err(Ignored::DoesNotFit);
        }
        field.get_mut(..name.len()).ok_or(Ignored::DoesNotFit)?.copy_from_slice(name);
        Ok(())
    }

    /// Appends an option. A value above 255 bytes is split into parts (RFC 3396 section 6).
    pub(super) fn option(&mut self, code: u8, value: &[u8]) -> Result<(), Ignored> {
        if value.is_empty() {
            return self.raw(&[code, 0]);
        }
        for part in value.chunks(usize::from(u8::MAX)) {
            let len = u8::try_from(part.len()).map_err(|_| Ignored::DoesNotFit)?;
            self.raw(&[code, len])?;
            self.raw(part)?;
        }
        Ok(())
    }

    /// Appends END and pads the message to 300 bytes. Returns the length of the message.
    pub(super) fn finish(self) -> Result<usize, Ignored> {
        *self.out.get_mut(self.at).ok_or(Ignored::DoesNotFit)? = code::END;
        let len = (self.at + 1).max(MIN);
        self.out.get_mut(self.at + 1..len).ok_or(Ignored::DoesNotFit)?.fill(code::PAD);
        Ok(len)
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), Ignored> {
        let end = self.at + bytes.len();
        // One byte stays free for END.
        if end >= self.out.len() {
            return Err(Ignored::DoesNotFit);
        }
        self.out.get_mut(self.at..end).ok_or(Ignored::DoesNotFit)?.copy_from_slice(bytes);
        self.at = end;
        Ok(())
    }
}
