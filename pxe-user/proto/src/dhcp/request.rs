//! A request as the client meant it: typed fields over the packet's own bytes.

use std::fmt;
use std::net::Ipv4Addr;

use super::arch::Arch;
use super::header::{self, Header};
use super::ignored::Malformed;
use super::options::{Options, code};
use super::vendor;
use crate::mac::Mac;

/// DHCP message types (RFC 2132 section 9.6) that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// DHCPDISCOVER, 1.
    Discover,
    /// DHCPREQUEST, 3: to port 4011 also the PXE boot server's DISCOVER (PXE 2.1 chapter 2).
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

/// What kind of client option 60 announces.
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

/// The boot service that a client asks for: option 43.71, `PXE_BOOT_ITEM` (PXE 2.1 chapter 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BootItem {
    /// Boot server type, as in the menu; 0 is the bootstrap server or local boot.
    pub boot_type: u16,
    /// Layer; bit 15 asks for credentials. Echoed, not interpreted.
    pub layer: u16,
}

/// The machine's SMBIOS UUID from option 97, in the order in which it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// As option 97 has it, and back: since SMBIOS 2.6 the first three fields are little-endian on the wire.
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

/// Not 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12.
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

/// Bytes that a stranger chose, made fit for a log: printable ASCII as it is, all else escaped, at most 64 bytes.
#[derive(Clone, Copy)]
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 64;
        write!(f, "{}", self.0.get(..SHOWN).unwrap_or(self.0).escape_ascii())?;
        if self.0.len() > SHOWN { write!(f, "... ({} bytes)", self.0.len()) } else { Ok(()) }
    }
}

/// A DHCP message addressed to port 67 or 4011. Borrows the packet; about 700 bytes, nothing on the heap.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    header: &'a Header,
    options: Options<'a>,
    message: Option<Message>,
    server_id: Option<Ipv4Addr>,
}

impl<'a> Request<'a> {
    /// Reads a UDP payload.
    ///
    /// # Errors
    /// Whatever makes the packet unreadable. Merely odd values are kept and judged where they matter.
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

    /// The first 240 bytes, for the fields that a reply copies.
    pub(super) fn header(&self) -> &'a Header {
        self.header
    }

    /// Whether `op` is BOOTREQUEST.
    #[must_use]
    pub fn is_boot_request(&self) -> bool {
        self.header[header::OP] == header::BOOTREQUEST
    }

    /// The machine's address, if it is on Ethernet: htype 1 and hlen 6 (RFC 1700).
    #[must_use]
    pub fn mac(&self) -> Option<Mac> {
        let ethernet = self.header[header::HTYPE] == 1 && self.header[header::HLEN] == 6;
        let [a, b, c, d, e, f, ..]: [u8; 16] = header::field(self.header, header::CHADDR);
        ethernet.then_some(Mac([a, b, c, d, e, f]))
    }

    /// Transaction id. Not unique: see [`Mac`].
    #[must_use]
    pub fn xid(&self) -> u32 {
        u32::from_be_bytes(header::field(self.header, header::XID))
    }

    /// Seconds since the client began. Never to be relied on: iPXE keeps flags in it, edk2 swaps its bytes on 4011.
    #[must_use]
    pub fn secs(&self) -> u16 {
        u16::from_be_bytes(header::field(self.header, header::SECS))
    }

    /// Whether the client asks for broadcast replies (RFC 2131 section 4.1).
    #[must_use]
    pub fn wants_broadcast(&self) -> bool {
        u16::from_be_bytes(header::field(self.header, header::FLAGS)) & header::BROADCAST != 0
    }

    /// The client's own address, if it has one; else 0.0.0.0.
    #[must_use]
    pub fn ciaddr(&self) -> Ipv4Addr {
        header::address(self.header, header::CIADDR)
    }

    /// The relay agent's address, or 0.0.0.0.
    #[must_use]
    pub fn giaddr(&self) -> Ipv4Addr {
        header::address(self.header, header::GIADDR)
    }

    /// Option 53; `None` is plain BOOTP.
    #[must_use]
    pub fn message(&self) -> Option<Message> {
        self.message
    }

    /// Option 54: the server that the client means.
    #[must_use]
    pub fn server_id(&self) -> Option<Ipv4Addr> {
        self.server_id
    }

    /// The address that a DHCPREQUEST takes: `ciaddr` of who renews its lease, else option 50 (RFC 2131 section 4.3.2).
    #[must_use]
    pub fn lease(&self) -> Option<Ipv4Addr> {
        let wanted = || Some(<[u8; 4]>::try_from(self.options.get(code::REQUESTED_ADDRESS)?).ok()?.into());
        let known = |address: &Ipv4Addr| !address.is_unspecified();
        Some(self.ciaddr()).filter(known).or_else(wanted).filter(known)
    }

    /// Option 57 in bytes, if it has its two bytes; unchecked.
    #[must_use]
    pub fn max_message_size(&self) -> Option<u16> {
        Some(u16::from_be_bytes(self.options.get(code::MAX_SIZE)?.try_into().ok()?))
    }

    /// Option 60 as sent; empty if absent.
    #[must_use]
    pub fn vendor_class(&self) -> &[u8] {
        self.options.get(code::CLASS).unwrap_or_default()
    }

    /// Option 77 as sent: a name, or a list of names (RFC 3004 section 4).
    #[must_use]
    pub fn user_class(&self) -> &[u8] {
        self.options.get(code::USER_CLASS).unwrap_or_default()
    }

    /// What option 60 says.
    #[must_use]
    pub fn class(&self) -> Class {
        match self.vendor_class() {
            class if class.starts_with(b"PXEClient") => Class::Pxe,
            class if class.starts_with(b"HTTPClient") => Class::Http,
            class if class.starts_with(b"U-Boot") => Class::UBoot,
            _ => Class::Other,
        }
    }

    /// The client's architectures, best first: option 93 (a list, RFC 4578 section 2.1; an odd last byte is passed
    /// over), else the number in option 60's `:Arch:nnnnn` (PXE 2.1 chapter 2).
    pub fn arches(&self) -> impl Iterator<Item = Arch> + '_ {
        let (pairs, _) = self.options.get(code::ARCH).unwrap_or_default().as_chunks::<2>();
        let from_class = if pairs.is_empty() { arch_in_class(self.vendor_class()) } else { None };
        pairs.iter().map(|pair| Arch(u16::from_be_bytes(*pair))).chain(from_class)
    }

    /// Option 97 as sent, to be echoed byte for byte; empty counts as absent.
    pub(super) fn uuid_bytes(&self) -> Option<&[u8]> {
        self.options.get(code::UUID).filter(|value| !value.is_empty())
    }

    /// The machine's UUID, if option 97 has type 0 and 16 bytes (RFC 4578 section 2.3).
    #[must_use]
    pub fn uuid(&self) -> Option<Uuid> {
        let [0, bytes @ ..] = self.uuid_bytes()? else { return None };
        Some(Uuid(Uuid(bytes.try_into().ok()?).on_wire()))
    }

    /// Whether iPXE itself asks, and not the firmware: option 77 says `iPXE`, raw or as RFC 3004 has it, or option
    /// 175 (Etherboot encapsulated options) is there.
    #[must_use]
    pub fn is_ipxe(&self) -> bool {
        self.options.get(code::ETHERBOOT).is_some() || names_ipxe(self.user_class())
    }

    /// The boot service asked for in option 43.71; shorter than four bytes counts as absent.
    #[must_use]
    pub fn boot_item(&self) -> Option<BootItem> {
        vendor::boot_item(self.options.get(code::VENDOR)?)
    }

    /// Option 82, to be echoed byte for byte (RFC 3046 section 2.2).
    #[must_use]
    pub fn relay_agent_info(&self) -> Option<&[u8]> {
        self.options.get(code::RELAY_AGENT)
    }

    /// Option 61 as sent; for logs through [`Printable`] only.
    #[must_use]
    pub fn client_id(&self) -> Option<&[u8]> {
        self.options.get(code::CLIENT_ID)
    }

    /// Whether this is a Raspberry Pi's own boot loader.
    ///
    /// It says arch 0, like a PC (raspberrypi/rpi-eeprom#182), so only the address or the UUID tells: that of a Pi 4 or 5
    /// begins with `RPi4` or `RPi5` (Raspberry Pi's documentation, `DHCP_OPTION97`). iPXE or UEFI on a Pi name
    /// themselves and are no Pi in this sense.
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

/// `PXEClient:Arch:xxxxx:UNDI:yyyzzz`: the five decimal digits.
fn arch_in_class(class: &[u8]) -> Option<Arch> {
    const LABEL: &[u8] = b":Arch:";
    let at = class.windows(LABEL.len()).position(|window| window == LABEL)? + LABEL.len();
    let digits = class.get(at..)?.split(|byte| *byte == b':').next()?;
    // `u16::from_str` alone would also take "+7".
    let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits)?;
    std::str::from_utf8(digits).ok()?.parse().ok().map(Arch)
}

/// Raw `iPXE`, or a list of length-prefixed names with `iPXE` among them (RFC 3004 section 4).
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
