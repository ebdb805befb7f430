//! TFTP packets (RFC 1350, section 5; RFC 2347).
//!
//! [`Packet::parse`] is a checked view of a received payload. [`Control`] and [`data_header`] write packets.

use std::fmt;

/// Opcodes (RFC 1350, section 5; OACK: RFC 2347).
mod opcode {
    pub(super) const RRQ: u16 = 1;
    pub(super) const WRQ: u16 = 2;
    pub(super) const DATA: u16 = 3;
    pub(super) const ACK: u16 = 4;
    pub(super) const ERROR: u16 = 5;
    pub(super) const OACK: u16 = 6;
}

/// Length of the header of a DATA packet: opcode and block number.
pub const DATA_HEADER_LEN: usize = 4;

/// Longest text in an ERROR packet, in bytes, without the final NUL.
const ERROR_TEXT_MAX: usize = 120;

/// A received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// RRQ: a request to read a file.
    Read(Request<'a>),
    /// WRQ: a request to write a file.
    Write(Request<'a>),
    /// DATA from a client that uploads: the block number modulo 65536, and the block.
    Data(u16, &'a [u8]),
    /// ACK: the block number modulo 65536.
    Ack(u16),
    /// ERROR: the sender ends the transfer. The text is not kept.
    Error(ErrorCode),
    /// OACK. Only a server sends it, so pxed never expects it.
    FromServer,
}

/// The content of an RRQ or a WRQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The file name as the client wrote it: not empty, without NUL, otherwise any bytes.
    pub filename: &'a [u8],
    /// The transfer mode.
    pub mode: Mode,
    /// The options that pxed knows and whose values are valid.
    pub options: RequestedOptions,
    /// The value of `tsize` in bytes (RFC 2349): in a WRQ the size of the file. `None` if the option is
    /// absent or its value is not a number.
    pub size: Option<u64>,
}

/// Transfer modes (RFC 1350, section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bytes without conversion.
    Octet,
    /// Text with CR LF line ends.
    Netascii,
    /// The obsolete mode `mail`, or an unknown mode.
    Other,
}

/// Options of a request. `None` if an option is absent or its value is invalid: pxed ignores invalid options
/// and omits them from the OACK (RFC 2347).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestedOptions {
    /// `blksize` in bytes, at least 8 (RFC 2348). Values above 65464 are reduced to 65464.
    pub blksize: Option<u16>,
    /// Whether the request has `tsize` (RFC 2349). The value is in [`Request::size`]; it has no meaning in an
    /// RRQ.
    pub tsize: bool,
    /// `timeout` in seconds, 1 to 255 (RFC 2349).
    pub timeout: Option<u8>,
    /// `windowsize` in blocks, 1 to 65535 (RFC 7440).
    pub windowsize: Option<u16>,
}

/// Smallest and largest `blksize` in bytes (RFC 2348).
pub const BLKSIZE_RANGE: std::ops::RangeInclusive<u16> = 8..=65464;

/// Error codes (RFC 1350, appendix; 8: RFC 2347).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// Not defined; the text has the reason.
    pub const UNDEFINED: Self = Self(0);
    /// File not found.
    pub const NOT_FOUND: Self = Self(1);
    /// Access violation.
    pub const DENIED: Self = Self(2);
    /// Disk full, or allocation exceeded.
    pub const FULL: Self = Self(3);
    /// Illegal TFTP operation.
    pub const ILLEGAL: Self = Self(4);
    /// Unknown transfer ID.
    pub const UNKNOWN_TID: Self = Self(5);
    /// File already exists.
    pub const EXISTS: Self = Self(6);
    /// Option negotiation failed. A client that only wants to know the size of a file sends it in reply to
    /// the OACK.
    pub const OPTIONS: Self = Self(8);
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "undefined",
            1 => "file not found",
            2 => "access violation",
            3 => "disk full",
            4 => "illegal operation",
            5 => "unknown transfer ID",
            6 => "file exists",
            7 => "no such user",
            8 => "option negotiation failed",
            _ => "unknown code",
        };
        write!(f, "{} ({name})", self.0)
    }
}

/// Why a payload is not a TFTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// Shorter than the opcode requires.
    Short,
    /// No RFC defines the opcode.
    Opcode,
    /// A string without its final NUL.
    Unterminated,
    /// An empty file name or mode.
    Empty,
}

impl<'a> Packet<'a> {
    /// Parses the payload of a datagram.
    ///
    /// # Errors
    /// [`Malformed`] with the reason. The function never reads past the end.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (opcode, rest) = bytes.split_first_chunk::<2>().ok_or(Malformed::Short)?;
        match u16::from_be_bytes(*opcode) {
            opcode::RRQ => Request::parse(rest).map(Self::Read),
            opcode::WRQ => Request::parse(rest).map(Self::Write),
            opcode::DATA => Ok(Self::Data(number(rest)?, rest.get(2..).unwrap_or_default())),
            opcode::ACK => Ok(Self::Ack(number(rest)?)),
            // pxed does not read the text: nothing depends on it, and it may lack its NUL (CVE-2019-11365).
            opcode::ERROR => Ok(Self::Error(ErrorCode(number(rest)?))),
            opcode::OACK => Ok(Self::FromServer),
            _ => Err(Malformed::Opcode),
        }
    }
}

fn number(bytes: &[u8]) -> Result<u16, Malformed> {
    bytes.first_chunk().map(|chunk| u16::from_be_bytes(*chunk)).ok_or(Malformed::Short)
}

/// Splits a NUL-terminated string from the bytes after it.
fn string(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let end = bytes.iter().position(|&byte| byte == 0).ok_or(Malformed::Unterminated)?;
    Ok((&bytes[..end], &bytes[end + 1..]))
}

impl<'a> Request<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (filename, rest) = string(bytes)?;
        let (mode, rest) = string(rest)?;
        if filename.is_empty() || mode.is_empty() {
            return Err(Malformed::Empty);
        }
        let mode = match () {
            () if mode.eq_ignore_ascii_case(b"octet") => Mode::Octet,
            () if mode.eq_ignore_ascii_case(b"netascii") => Mode::Netascii,
            () => Mode::Other,
        };
        let (options, size) = RequestedOptions::parse(rest);
        Ok(Self { filename, mode, options, size })
    }
}

impl RequestedOptions {
    /// Parses pairs of name and value up to the end or to an incomplete pair. If a name occurs twice, the
    /// first valid value counts; for `tsize` the first one, valid or not. Returns the value of `tsize` beside
    /// the options.
    fn parse(mut bytes: &[u8]) -> (Self, Option<u64>) {
        let (mut requested, mut size) = (Self::default(), None);
        while let Ok((name, rest)) = string(bytes)
            && let Ok((value, rest)) = string(rest)
        {
            bytes = rest;
            if name.eq_ignore_ascii_case(b"tsize") {
                if !requested.tsize {
                    (requested.tsize, size) = (true, decimal(value));
                }
                continue;
            }
            let Some(value) = decimal(value) else { continue };
            if name.eq_ignore_ascii_case(b"blksize") && value >= u64::from(*BLKSIZE_RANGE.start()) {
                let value = value.min(u64::from(*BLKSIZE_RANGE.end()));
                requested.blksize = requested.blksize.or(u16::try_from(value).ok());
            } else if name.eq_ignore_ascii_case(b"timeout") && value > 0 {
                requested.timeout = requested.timeout.or(u8::try_from(value).ok());
            } else if name.eq_ignore_ascii_case(b"windowsize") && value > 0 {
                requested.windowsize = requested.windowsize.or(u16::try_from(value).ok());
            }
        }
        (requested, size)
    }
}

/// Parses a decimal number: only digits, no sign, no spaces. `None` if it does not fit 64 bits.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// The options in an OACK. `None` if the OACK omits the option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OackOptions {
    /// Bytes per block.
    pub blksize: Option<u16>,
    /// The file's size in bytes.
    pub tsize: Option<u64>,
    /// Retransmission time-out in seconds.
    pub timeout: Option<u8>,
    /// Blocks per window.
    pub windowsize: Option<u16>,
}

impl OackOptions {
    /// Whether the OACK would have no options. Then pxed sends no OACK, and DATA 1 answers the request
    /// (RFC 2347).
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Bytes that the largest packet of [`Control`] needs.
pub const CONTROL_MAX: usize = 2 + 2 + ERROR_TEXT_MAX + 1;

/// A short packet on the stack: OACK, ACK or ERROR.
#[derive(Clone, Copy, Debug)]
pub struct Control {
    bytes: [u8; CONTROL_MAX],
    len: usize,
}

impl Control {
    fn new(opcode: u16) -> Self {
        let mut control = Self { bytes: [0; CONTROL_MAX], len: 0 };
        control.push(&opcode.to_be_bytes());
        control
    }

    /// Appends as many bytes as fit. Nothing is ever cut here: all packets of the callers fit, and
    /// [`Self::error`] shortens its text first.
    fn push(&mut self, bytes: &[u8]) {
        let room = self.bytes.len() - self.len;
        let taken = bytes.len().min(room);
        self.bytes[self.len..self.len + taken].copy_from_slice(&bytes[..taken]);
        self.len += taken;
    }

    fn push_option(&mut self, name: &[u8], value: u64) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = value;
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.push(name);
        self.push(&[0]);
        self.push(&digits[at..]);
        self.push(&[0]);
    }

    /// Writes an OACK (RFC 2347): only options that were requested, values as decimal numbers, each string
    /// with its NUL.
    pub fn oack(granted: &OackOptions) -> Self {
        let mut control = Self::new(opcode::OACK);
        if let Some(value) = granted.tsize {
            control.push_option(b"tsize", value);
        }
        if let Some(value) = granted.blksize {
            control.push_option(b"blksize", u64::from(value));
        }
        if let Some(value) = granted.timeout {
            control.push_option(b"timeout", u64::from(value));
        }
        if let Some(value) = granted.windowsize {
            control.push_option(b"windowsize", u64::from(value));
        }
        control
    }

    /// Writes an ACK of a block (RFC 1350, section 5).
    pub fn ack(block: super::Block) -> Self {
        let mut control = Self::new(opcode::ACK);
        control.push(&block.wire().to_be_bytes());
        control
    }

    /// Writes an ERROR (RFC 1350, section 5). The text is cut to 120 bytes, which every client accepts.
    pub fn error(code: ErrorCode, text: &str) -> Self {
        let mut control = Self::new(opcode::ERROR);
        control.push(&code.0.to_be_bytes());
        control.push(&text.as_bytes()[..text.len().min(ERROR_TEXT_MAX)]);
        control.push(&[0]);
        control
    }

    /// Returns the packet.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Returns the header of a DATA packet: the opcode, and the block number modulo 65536.
#[inline]
pub fn data_header(block: super::Block) -> [u8; DATA_HEADER_LEN] {
    let [a, b] = opcode::DATA.to_be_bytes();
    let [c, d] = block.wire().to_be_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests;
