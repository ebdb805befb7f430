//! A request: typed fields over the packet's own bytes.

use std::fmt;
use std::net::Ipv4Addr;

use super::arch::Arch;
use super::header::{self, Header};
use super::ignored::Malformed;
use super::options::{Options, code};
use super::vendor::{self, BootItem};
use crate::mac::Mac;

/// The DHCP message types (RFC 2132 section 9.6) that pxed distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// DHCPDISCOVER, 1.
    Discover,
    /// DHCPREQUEST, 3. On port 4011 it is also the request to a PXE boot server (PXE 2.1 chapter 2).
    Request,
    /// Any other type, by its number.
    Other(u8),
}

impl Message {
    /// The type with this number.
    #[must_use]
    pub fn of(number: u8) -> Self {
        match number {
            1 => Self::Discover,
            3 => Self::Request,
            other => Self::Other(other),
        }
    }
}

/// The kind of client that option 60 announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// `PXEClient...` (PXE 2.1 chapter 2).
    Pxe,
    /// `HTTPClient...` (UEFI 2.10 section 24.7).
    Http,
    /// `U-Boot...`.
    UBoot,
    /// Anything else, or no option 60.
    Other,
}

/// The machine's SMBIOS UUID from option 97, in the byte order in which it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// Converts between the printed byte order and that of option 97, in both directions: since SMBIOS 2.6
    /// the first three fields are little-endian on the wire.
    #[must_use]
    pub fn on_wire(self) -> [u8; 16] {
        let mut bytes = self.0;
        bytes[0..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

/// The text is not 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no UUID: it looks like 4c4c4544-0051-3510-8052-b4c04f4d3732")]
pub struct InvalidUuid(String);

impl std::str::FromStr for Uuid {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Self, InvalidUuid> {
        let invalid = || InvalidUuid(text.to_owned());
        let lengths = text.split('-').map(str::len);
        if !lengths.eq([8, 4, 4, 4, 12]) || !text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
        {
            return Err(invalid());
        }
        let number = u128::from_str_radix(&text.replace('-', ""), 16).map_err(|_| invalid())?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// Makes bytes from an unauthenticated sender safe for a log: printable ASCII stays, other bytes are escaped,
/// and at most 64 bytes are shown.
#[derive(Clone, Copy)]
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 64;
        write!(f, "{}", self.0.get(..SHOWN).unwrap_or(self.0).escape_ascii())?;
        if self.0.len() > SHOWN { write!(f, "... ({} bytes)", self.0.len()) } else { Ok(()) }
    }
}

/// A DHCP message to port 67 or 4011. It borrows the packet, has about 700 bytes, and uses no heap.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    header: &'a Header,
    options: Options<'a>,
    message: Option<Message>,
    server_id: Option<Ipv4Addr>,
}

impl<'a> Request<'a> {
    /// Parses a UDP payload.
    ///
    /// # Errors
    /// Why the packet cannot be read. Unusual values are not errors: they are kept, and judged where they are
    /// used.
    pub fn parse(packet: &'a [u8]) -> Result<Self, Malformed> {
        let header: &Header = packet.first_chunk().ok_or(Malformed::Short)?;
        if header[header::COOKIE_AT..] != header::COOKIE {
            return Err(Malformed::Cookie);
        }
        let options = Options::parse(packet)?;
        let message = match options.get(code::MESSAGE_TYPE) {
            None => None,
            Some([number]) => Some(Message::of(*number)),
            Some(_) => return Err(Malformed::MessageTypeLength),
        };
        let server_id = match options.get(code::SERVER_ID) {
            None => None,
            Some(value) => Some(<[u8; 4]>::try_from(value).map_err(|_| Malformed::ServerIdLength)?.into()),
        };
        Ok(Self { header, options, message, server_id })
    }

    /// The first 240 bytes, from which a reply copies fields.
    pub(super) fn header(&self) -> &'a Header {
        self.header
    }

    /// Whether `op` is BOOTREQUEST.
    #[must_use]
    pub fn is_boot_request(&self) -> bool {
        self.header[header::OP] == header::BOOTREQUEST
    }

    /// The machine's address; `None` if it is not on Ethernet (htype 1 and hlen 6, RFC 1700).
    #[must_use]
    pub fn mac(&self) -> Option<Mac> {
        let ethernet = self.header[header::HTYPE] == 1 && self.header[header::HLEN] == 6;
        let [a, b, c, d, e, f, ..]: [u8; 16] = header::field(self.header, header::CHADDR);
        ethernet.then_some(Mac([a, b, c, d, e, f]))
    }

    /// The transaction ID. It is not unique: see [`Mac`].
    #[must_use]
    pub fn xid(&self) -> u32 {
        u32::from_be_bytes(header::field(self.header, header::XID))
    }

    /// Seconds since the client began. The value is unreliable: iPXE stores flags in it, and EDK2 swaps its
    /// bytes on 4011.
    #[must_use]
    pub fn secs(&self) -> u16 {
        u16::from_be_bytes(header::field(self.header, header::SECS))
    }

    /// Whether the client asks for broadcast replies (RFC 2131 section 4.1).
    #[must_use]
    pub fn wants_broadcast(&self) -> bool {
        u16::from_be_bytes(header::field(self.header, header::FLAGS)) & header::BROADCAST != 0
    }

    /// The client's own address; 0.0.0.0 if it has none.
    #[must_use]
    pub fn ciaddr(&self) -> Ipv4Addr {
        header::address(self.header, header::CIADDR)
    }

    /// The relay agent's address; 0.0.0.0 if there is no relay.
    #[must_use]
    pub fn giaddr(&self) -> Ipv4Addr {
        header::address(self.header, header::GIADDR)
    }

    /// The message type from option 53; `None` for plain BOOTP.
    #[must_use]
    pub fn message(&self) -> Option<Message> {
        self.message
    }

    /// Option 54: the server for which the request is meant; `None` if it names no server.
    #[must_use]
    pub fn server_id(&self) -> Option<Ipv4Addr> {
        self.server_id
    }

    /// The address that a DHCPREQUEST takes: `ciaddr` if the client renews its lease, else option 50 (RFC
    /// 2131 section 4.3.2). `None` if both are absent.
    #[must_use]
    pub fn lease(&self) -> Option<Ipv4Addr> {
        let wanted = || Some(<[u8; 4]>::try_from(self.options.get(code::REQUESTED_ADDRESS)?).ok()?.into());
        let known = |address: &Ipv4Addr| !address.is_unspecified();
        Some(self.ciaddr()).filter(known).or_else(wanted).filter(known)
    }

    /// Option 57, the largest message in bytes, as sent; `None` if the option is absent or does not have two
    /// bytes.
    #[must_use]
    pub fn max_message_size(&self) -> Option<u16> {
        Some(u16::from_be_bytes(self.options.get(code::MAX_SIZE)?.try_into().ok()?))
    }

    /// Option 60 as sent; empty if absent.
    #[must_use]
    pub fn vendor_class(&self) -> &[u8] {
        self.options.get(code::CLASS).unwrap_or_default()
    }

    /// Option 77 as sent: a name, or a list of names (RFC 3004 section 4); empty if absent.
    #[must_use]
    pub fn user_class(&self) -> &[u8] {
        self.options.get(code::USER_CLASS).unwrap_or_default()
    }

    /// The kind of client, from option 60.
    #[must_use]
    pub fn class(&self) -> Class {
        match self.vendor_class() {
            class if class.starts_with(b"PXEClient") => Class::Pxe,
            class if class.starts_with(b"HTTPClient") => Class::Http,
            class if class.starts_with(b"U-Boot") => Class::UBoot,
            _ => Class::Other,
        }
    }

    /// The client's architectures, in the client's order of preference: the list in option 93 (RFC 4578
    /// section 2.1; an odd last byte is ignored). If option 93 has none, the number in option 60's
    /// `:Arch:nnnnn` (PXE 2.1 chapter 2).
    pub fn arches(&self) -> impl Iterator<Item = Arch> + '_ {
        let (pairs, _) = self.options.get(code::ARCH).unwrap_or_default().as_chunks::<2>();
        let from_class = if pairs.is_empty() { arch_in_class(self.vendor_class()) } else { None };
        pairs.iter().map(|pair| Arch(u16::from_be_bytes(*pair))).chain(from_class)
    }

    /// Option 97 as sent, for an echo byte for byte; `None` if it is absent or empty.
    pub(super) fn uuid_bytes(&self) -> Option<&[u8]> {
        self.options.get(code::UUID).filter(|value| !value.is_empty())
    }

    /// The machine's UUID; `None` unless option 97 has type 0 and 16 bytes (RFC 4578 section 2.3).
    #[must_use]
    pub fn uuid(&self) -> Option<Uuid> {
        let [0, bytes @ ..] = self.uuid_bytes()? else { return None };
        Some(Uuid(Uuid(bytes.try_into().ok()?).on_wire()))
    }

    /// Whether the client is iPXE and not the machine's firmware: option 77 is `iPXE`, raw or in the form of
    /// RFC 3004, or option 175 (Etherboot encapsulated options) is present.
    #[must_use]
    pub fn is_ipxe(&self) -> bool {
        self.options.get(code::ETHERBOOT).is_some() || names_ipxe(self.user_class())
    }

    /// The boot service that option 43.71 asks for; `None` if the tag is absent or shorter than four bytes.
    #[must_use]
    pub fn boot_item(&self) -> Option<BootItem> {
        vendor::boot_item(self.options.get(code::VENDOR)?)
    }

    /// Option 82, for an echo byte for byte (RFC 3046 section 2.2); `None` if absent.
    #[must_use]
    pub fn relay_agent_info(&self) -> Option<&[u8]> {
        self.options.get(code::RELAY_AGENT)
    }

    /// Option 61 as sent, for logs through [`Printable`] only; `None` if absent.
    #[must_use]
    pub fn client_id(&self) -> Option<&[u8]> {
        self.options.get(code::CLIENT_ID)
    }

    /// Whether the client is a Raspberry Pi's own boot loader.
    ///
    /// This boot loader names architecture 0, like a PC (raspberrypi/rpi-eeprom#182), so only its address or
    /// its UUID identifies it. The UUID of a Pi 4 or 5 begins with `RPi4` or `RPi5` (Raspberry Pi's
    /// documentation, `DHCP_OPTION97`). iPXE or UEFI on a Pi identify themselves, and do not count as a
    /// Raspberry Pi here.
    #[must_use]
    pub fn is_raspberry_pi(&self) -> bool {
        let marked = self.mac().is_some_and(Mac::is_raspberry_pi)
            || self.uuid_bytes().is_some_and(|uuid| uuid.starts_with(b"\0RPi"));
        match self.arches().next() {
            Some(Arch::RPI) => true,
            Some(Arch::BIOS) => marked && !self.is_ipxe(),
            _ => false,
        }
    }
}

/// Returns the five decimal digits in `PXEClient:Arch:xxxxx:UNDI:yyyzzz`.
fn arch_in_class(class: &[u8]) -> Option<Arch> {
    const LABEL: &[u8] = b":Arch:";
    let at = class.windows(LABEL.len()).position(|window| window == LABEL)? + LABEL.len();
    let digits = class.get(at..)?.split(|byte| *byte == b':').next()?;
    // `u16::from_str` alone would also accept "+7".
    let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits)?;
    std::str::from_utf8(digits).ok()?.parse().ok().map(Arch)
}

/// Whether option 77 is raw `iPXE`, or a list of length-prefixed names that contains `iPXE` (RFC 3004 section
/// 4).
fn names_ipxe(user_class: &[u8]) -> bool {
    const IPXE: &[u8] = b"iPXE";
    let mut rest = user_class;
    while let [len, names @ ..] = rest {
        let Some((name, next)) = names.split_at_checked(usize::from(*len)) else { break };
        if name == IPXE {
            return true;
        }
        rest = next;
    }
    user_class == IPXE
}
