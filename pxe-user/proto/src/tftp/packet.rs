//! TFTP packets: checked views over received bytes, and writers (RFC 1350, section 5; RFC 2347).

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

/// The longest text that is put into an ERROR packet, in bytes.
const ERROR_TEXT_MAX: usize = 120;

/// A received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A request to read a file.
    Read(Request<'a>),
    /// A request to write a file.
    Write(Request<'a>),
    /// A block of a file, modulo 65536, from a client that writes.
    Data(u16, &'a [u8]),
    /// Acknowledgement of a block, modulo 65536.
    Ack(u16),
    /// The peer ends the transfer.
    Error(ErrorCode),
    /// OACK: only a server sends it, to a client.
    FromServer,
}

/// What an RRQ or a WRQ asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The file's name as the client wrote it: never empty, without NUL, otherwise any bytes.
    pub filename: &'a [u8],
    /// How the client wants it transferred.
    pub mode: Mode,
    /// The options that we know and whose values are valid.
    pub options: RequestedOptions,
    /// The value of `tsize`, in bytes (RFC 2349): in a write request the file's size. `None` if it is no number.
    pub size: Option<u64>,
}

/// Transfer modes (RFC 1350, section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bytes as they are.
    Octet,
    /// Text with CR LF.
    Netascii,
    /// Obsolete `mail`, or a word nobody knows.
    Other,
}

/// Options of a request with valid values. What is invalid counts as not asked (RFC 2347: it is left out of the OACK).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestedOptions {
    /// `blksize` in bytes, at least 8 (RFC 2348); values above 65464 are cut to it.
    pub blksize: Option<u16>,
    /// `tsize` was there (RFC 2349); its value, which means nothing in a read request, is in [`Request::size`].
    pub tsize: bool,
    /// `timeout` in seconds, 1 to 255 (RFC 2349).
    pub timeout: Option<u8>,
    /// `windowsize` in blocks, 1 to 65535 (RFC 7440).
    pub windowsize: Option<u16>,
}

/// Smallest and largest `blksize` (RFC 2348).
pub const BLKSIZE_RANGE: std::ops::RangeInclusive<u16> = 8..=65464;

/// Error codes (RFC 1350, appendix; 8: RFC 2347).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// Not defined, see the message.
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
    /// Option negotiation failed: a client that only wanted to know the size says so.
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

/// Why bytes are no TFTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// Shorter than its kind demands.
    Short,
    /// An opcode that no RFC defines.
    Opcode,
    /// A string without its final NUL.
    Unterminated,
    /// An empty file name or mode.
    Empty,
}

impl<'a> Packet<'a> {
    /// Reads a datagram's payload.
    ///
    /// # Errors
    /// [`Malformed`] with the reason; nothing is ever read past the end.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (opcode, rest) = bytes.split_first_chunk::<2>().ok_or(Malformed::Short)?;
        match u16::from_be_bytes(*opcode) {
            opcode::RRQ => Request::parse(rest).map(Self::Read),
            opcode::WRQ => Request::parse(rest).map(Self::Write),
            opcode::DATA => Ok(Self::Data(number(rest)?, rest.get(2..).unwrap_or_default())),
            opcode::ACK => Ok(Self::Ack(number(rest)?)),
            // The text is not looked at: it may lack its NUL (CVE-2019-11365), and nothing depends on it.
            opcode::ERROR => Ok(Self::Error(ErrorCode(number(rest)?))),
            opcode::OACK => Ok(Self::FromServer),
            _ => Err(Malformed::Opcode),
        }
    }
}

fn number(bytes: &[u8]) -> Result<u16, Malformed> {
    bytes.first_chunk().map(|chunk| u16::from_be_bytes(*chunk)).ok_or(Malformed::Short)
}

/// Splits off a NUL-terminated string.
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
    /// Reads name-value pairs until they end or make no sense. The first of two equal names counts. Beside them, the value
    /// of `tsize`.
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

/// A plain decimal number: digits only, no sign, no spaces, no overflow.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// What we grant, as it stands in an OACK.
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
    /// Whether there is anything to acknowledge; if not, DATA 1 follows the request at once (RFC 2347).
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Room for any packet that the writers below make, in bytes.
pub const CONTROL_MAX: usize = 2 + 2 + ERROR_TEXT_MAX + 1;

/// A small packet, built on the stack: OACK, ACK or ERROR.
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

    /// Appends what fits; the callers' packets all do, and a text is cut before.
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

    /// An OACK (RFC 2347): only what was asked, plain decimals, each string with its NUL.
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

    /// An ACK of a block (RFC 1350, section 5).
    pub fn ack(block: super::Block) -> Self {
        let mut control = Self::new(opcode::ACK);
        control.push(&block.wire().to_be_bytes());
        control
    }

    /// An ERROR (RFC 1350, section 5): the text is cut to a length that every client can take.
    pub fn error(code: ErrorCode, text: &str) -> Self {
        let mut control = Self::new(opcode::ERROR);
        control.push(&code.0.to_be_bytes());
        control.push(&text.as_bytes()[..text.len().min(ERROR_TEXT_MAX)]);
        control.push(&[0]);
        control
    }

    /// The packet.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The header of a DATA packet for a block, whose number wraps to 0 past 65535.
pub fn data_header(block: super::Block) -> [u8; DATA_HEADER_LEN] {
    let [a, b] = opcode::DATA.to_be_bytes();
    let [c, d] = block.wire().to_be_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests;
