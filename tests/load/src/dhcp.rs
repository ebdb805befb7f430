//! DHCP messages of simulated machines: our captures of real firmware with the machine's own numbers in them, and what
//! firmware reads of an answer. Nothing is allocated per message.

use std::net::Ipv4Addr;

use super::manners::Firmware;
use super::transfer::Failure;

/// The fixed header and the magic cookie (RFC 2131).
const OPTIONS_AT: usize = 240;
const HOPS: usize = 3;
const GIADDR: std::ops::Range<usize> = 24..28;
const XID: std::ops::Range<usize> = 4..8;
const CIADDR: std::ops::Range<usize> = 12..16;
const SIADDR: std::ops::Range<usize> = 20..24;
const CHADDR: std::ops::Range<usize> = 28..34;
const FILE: std::ops::Range<usize> = 108..236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Option 53.
const OFFER: u8 = 2;
const ACK: u8 = 5;

/// Room for any message.
pub const LEN_MAX: usize = 512;

/// The hardware address of a machine: locally administered, then its number.
pub fn mac(index: u32) -> [u8; 6] {
    let [a, b, c, d] = index.to_be_bytes();
    [2, 0, a, b, c, d]
}

/// The machine that an answer is for, by `chaddr`.
pub fn addressee(message: &[u8]) -> Option<u32> {
    match message.get(CHADDR)? {
        &[2, 0, a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
        _ => None,
    }
}

/// A message that all machines send, each with its own numbers.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    /// Where the last four bytes of option 97 are.
    uuid_tail: Option<usize>,
    /// Where the hardware address within option 61 is.
    client_id: Option<usize>,
    /// Whether the machine has an address already.
    addressed: bool,
}

impl Template {
    /// The question on port 67.
    pub fn discover(firmware: Firmware) -> Self {
        let bytes: &[u8] = match firmware {
            Firmware::Ipxe => include_bytes!("../../packets/dhcp/ipxe-bios-discover.bin"),
            Firmware::Edk2 => include_bytes!("../../packets/dhcp/ovmf-discover.bin"),
        };
        Self::new(bytes.to_vec(), false)
    }

    /// What UEFI's HTTP client asks, as a relay forwards it (RFC 1542, section 4.1.1).
    pub fn http_discover(relay: Ipv4Addr) -> Self {
        let mut bytes = include_bytes!("../../packets/dhcp/ovmf-http-discover.bin").to_vec();
        bytes[HOPS] = 1;
        bytes[GIADDR].copy_from_slice(&relay.octets());
        Self::new(bytes, false)
    }

    /// The question on port 4011. For iPXE its BIOS ROM's DISCOVER turned into what its EFI ROM sent there: a REQUEST
    /// with option 54 behind the others (`ipxe-efi-rom-4011.bin`).
    pub fn boot_server(firmware: Firmware, server: Ipv4Addr) -> Self {
        let bytes = match firmware {
            Firmware::Edk2 => include_bytes!("../../packets/dhcp/ovmf-4011.bin").to_vec(),
            Firmware::Ipxe => {
                let mut bytes = include_bytes!("../../packets/dhcp/ipxe-bios-discover.bin").to_vec();
                bytes.pop();
                bytes.extend([54, 4]);
                bytes.extend(server.octets());
                bytes.push(255);
                // The broadcast flag, and option 53, which comes first.
                bytes[10] = 0x80;
                bytes[OPTIONS_AT + 2] = 3;
                bytes
            }
        };
        Self::new(bytes, true)
    }

    fn new(bytes: Vec<u8>, addressed: bool) -> Self {
        let (mut uuid_tail, mut client_id) = (None, None);
        // None of the captures has padding between its options.
        let mut end = OPTIONS_AT;
        for (code, value) in options(&bytes[OPTIONS_AT..]) {
            end += 2 + value.len();
            match code {
                97 => uuid_tail = Some(end - 4),
                61 => client_id = Some(end - 6),
                _ => {}
            }
        }
        Self { bytes, uuid_tail, client_id, addressed }
    }

    /// Writes a machine's message and returns its length.
    pub fn write(&self, index: u32, address: Ipv4Addr, xid: u32, into: &mut [u8; LEN_MAX]) -> usize {
        let message = &mut into[..self.bytes.len()];
        message.copy_from_slice(&self.bytes);
        message[XID].copy_from_slice(&xid.to_be_bytes());
        message[CHADDR].copy_from_slice(&mac(index));
        if self.addressed {
            message[CIADDR].copy_from_slice(&address.octets());
        }
        if let Some(at) = self.uuid_tail {
            message[at..at + 4].copy_from_slice(&index.to_be_bytes());
        }
        if let Some(at) = self.client_id {
            message[at..at + 6].copy_from_slice(&mac(index));
        }
        self.bytes.len()
    }
}

/// Code and value of each option until END or until something is cut off.
fn options(mut rest: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        while let [0, after @ ..] = rest {
            rest = after;
        }
        let [code, len, after @ ..] = rest else { return None };
        if *code == 255 {
            return None;
        }
        let (value, after) = after.split_at_checked(usize::from(*len))?;
        rest = after;
        Some((*code, value))
    })
}

/// What firmware reads of an answer on port 67 or 4011.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// Transaction.
    pub xid: u32,
    message_type: u8,
    siaddr: [u8; 4],
    identity: [u8; 4],
    for_pxe: bool,
    for_http: bool,
    file: &'a [u8],
    /// 43.6, if it is there.
    control: Option<u8>,
    /// Whether 43 has one of 6 to 10.
    pxe10: bool,
    /// Whether 43 has a menu (9).
    menu: bool,
}

/// How a machine goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It loads the file.
    Load,
    /// It asks on port 4011.
    BootServer,
}

impl<'a> Answer<'a> {
    /// Reads an answer; none if it is no BOOTREPLY at all.
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let (header, rest) = message.split_at_checked(OPTIONS_AT)?;
        if header[0] != 2 || header[236..] != COOKIE {
            return None;
        }
        let mut answer = Answer {
            xid: u32::from_be_bytes(header[XID].try_into().ok()?),
            siaddr: header[SIADDR].try_into().ok()?,
            file: text(&header[FILE]),
            ..Answer::default()
        };
        for (code, value) in options(rest) {
            match (code, value) {
                (53, [kind]) => answer.message_type = *kind,
                (54, _) => answer.identity = value.try_into().unwrap_or_default(),
                (60, _) => {
                    answer.for_pxe = value.starts_with(b"PXEClient");
                    answer.for_http = value.starts_with(b"HTTPClient");
                }
                (67, _) if answer.file.is_empty() => answer.file = text(value),
                (43, _) => answer.vendor(value),
                _ => {}
            }
        }
        Some(answer)
    }

    fn vendor(&mut self, value: &[u8]) {
        for (code, value) in options(value) {
            self.pxe10 |= (6..=10).contains(&code);
            self.menu |= code == 9;
            if let (6, [bits]) = (code, value) {
                self.control = Some(*bits);
            }
        }
    }

    /// Whether firmware takes it for an OFFER from a boot server.
    pub fn is_offer(&self) -> bool {
        self.message_type == OFFER && self.for_pxe && self.identity != [0; 4]
    }

    /// Whether UEFI's HTTP client takes it for an OFFER.
    pub fn is_http_offer(&self) -> bool {
        self.message_type == OFFER && self.for_http && self.identity != [0; 4]
    }

    /// The URL of an OFFER for an HTTP client; empty if it is no text.
    pub fn url(&self) -> &str {
        std::str::from_utf8(self.file).unwrap_or_default()
    }

    /// What firmware does with an OFFER. `file` and `server` are what it must name.
    ///
    /// # Errors
    /// When the machine would stop with a message: another file or server, or a menu, which nobody is there to answer.
    pub fn follow(&self, firmware: Firmware, file: &str, server: Ipv4Addr) -> Result<Next, Failure> {
        let straight = self.control.is_some_and(|bits| bits & 8 != 0) && !self.file.is_empty();
        let next = match firmware {
            // iPXE passes 4011 by when it has an address and a name.
            Firmware::Ipxe if self.menu && !straight => return Err(Failure::Refused),
            Firmware::Ipxe if self.siaddr == [0; 4] || self.file.is_empty() => Next::BootServer,
            Firmware::Ipxe => Next::Load,
            Firmware::Edk2 if !self.pxe10 => Next::BootServer,
            Firmware::Edk2 if straight => Next::Load,
            // PXE-E21, or a menu.
            Firmware::Edk2 => return Err(Failure::Refused),
        };
        if next == Next::Load { self.check(file, server).map(|()| next) } else { Ok(next) }
    }

    /// Whether the answer on port 4011 leads to the file.
    ///
    /// # Errors
    /// As [`Self::follow`].
    pub fn follow_boot_server(
        &self,
        firmware: Firmware,
        file: &str,
        server: Ipv4Addr,
    ) -> Result<(), Failure> {
        // For iPXE a name without `siaddr` is none.
        let addressed = firmware == Firmware::Edk2 || self.siaddr != [0; 4];
        if self.message_type != ACK || !self.for_pxe || !addressed {
            return Err(Failure::Refused);
        }
        self.check(file, server)
    }

    fn check(&self, file: &str, server: Ipv4Addr) -> Result<(), Failure> {
        let address = if self.siaddr == [0; 4] { self.identity } else { self.siaddr };
        let right = self.file == file.as_bytes() && address == server.octets();
        if right { Ok(()) } else { Err(Failure::Refused) }
    }
}

/// A field's text, up to its NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 1);

    fn answer(file: &str, options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; OPTIONS_AT];
        message[0] = 2;
        message[XID].copy_from_slice(&7u32.to_be_bytes());
        message[SIADDR].copy_from_slice(&SERVER.octets());
        message[CHADDR].copy_from_slice(&mac(258));
        message[FILE.start..][..file.len()].copy_from_slice(file.as_bytes());
        message[236..].copy_from_slice(&COOKIE);
        message.extend_from_slice(options);
        message
    }

    const BARE: &[u8] = b"\x35\x01\x02\x36\x04\x0a\x32\x00\x01\x3c\x09PXEClient\xff";
    const DIRECT: &[u8] =
        b"\x35\x01\x02\x36\x04\x0a\x32\x00\x01\x3c\x09PXEClient\x2b\x04\x06\x01\x08\xff\xff";
    const MENU: &[u8] = b"\x35\x01\x02\x36\x04\x0a\x32\x00\x01\x3c\x09PXEClient\x2b\x03\x09\x01\x00\xff";

    #[test]
    fn each_machine_sends_its_own_numbers_in_the_captured_message() {
        for (firmware, len, ids) in [(Firmware::Ipxe, 400, 2), (Firmware::Edk2, 347, 1)] {
            let mut message = [0; LEN_MAX];
            let template = Template::discover(firmware);
            assert_eq!(template.write(258, Ipv4Addr::UNSPECIFIED, 0xa1b2_c3d4, &mut message), len);
            assert_eq!(message[XID], [0xa1, 0xb2, 0xc3, 0xd4]);
            assert_eq!(message[CIADDR], [0; 4]);
            assert_eq!(addressee(&message), Some(258));
            let found = message.windows(6).filter(|bytes| *bytes == mac(258)).count();
            assert_eq!(found, ids, "chaddr, and option 61 where there is one");
            let uuid = options(&message[OPTIONS_AT..]).find(|option| option.0 == 97).unwrap().1;
            assert_eq!((uuid.len(), &uuid[13..]), (17, &[0, 0, 1, 2][..]));
        }
    }

    #[test]
    fn an_http_client_asks_through_a_relay_and_takes_an_offer_with_a_url() {
        let relay = Ipv4Addr::new(10, 51, 0, 2);
        let mut message = [0; LEN_MAX];
        let len = Template::http_discover(relay).write(258, Ipv4Addr::UNSPECIFIED, 7, &mut message);
        assert_eq!((message[HOPS], &message[GIADDR]), (1, &relay.octets()[..]));
        let class = options(&message[OPTIONS_AT..len]).find(|option| option.0 == 60).unwrap().1;
        assert!(class.starts_with(b"HTTPClient:Arch:00016"));
        let offer = |class: &[u8]| {
            answer(
                "",
                &[b"\x35\x01\x02\x36\x04\x0a\x32\x00\x01\x3c\x0a", class, b"\x43\x09http://a/\xff"].concat(),
            )
        };
        let parsed = |class| {
            let message = offer(class);
            let answer = Answer::parse(&message).unwrap();
            (answer.is_http_offer(), answer.url().to_owned())
        };
        assert_eq!(parsed(b"HTTPClient"), (true, "http://a/".into()));
        assert!(!parsed(b"PXEClientX").0);
    }

    #[test]
    fn the_boot_server_is_asked_with_an_address() {
        let address = Ipv4Addr::new(10, 50, 1, 7);
        for (firmware, server) in [(Firmware::Ipxe, Some(SERVER.octets())), (Firmware::Edk2, None)] {
            let mut message = [0; LEN_MAX];
            let len = Template::boot_server(firmware, SERVER).write(7, address, 1, &mut message);
            assert_eq!(message[CIADDR], address.octets());
            let find = |code| options(&message[OPTIONS_AT..len]).find(|option| option.0 == code);
            assert_eq!(find(53).unwrap().1, [3]);
            assert_eq!(find(54).map(|option| option.1.to_vec()), server.map(|octets| octets.to_vec()));
            assert_eq!(message[len - 1], 255);
        }
    }

    #[test]
    fn an_offer_is_followed_as_each_firmware_does() {
        use Firmware::{Edk2, Ipxe};
        for (firmware, file, options, next) in [
            (Ipxe, "small", DIRECT, Ok(Next::Load)),
            (Ipxe, "small", BARE, Ok(Next::Load)),
            (Ipxe, "", BARE, Ok(Next::BootServer)),
            (Ipxe, "", MENU, Err(Failure::Refused)),
            (Ipxe, "other", DIRECT, Err(Failure::Refused)),
            (Edk2, "small", DIRECT, Ok(Next::Load)),
            (Edk2, "small", BARE, Ok(Next::BootServer)),
            (Edk2, "", BARE, Ok(Next::BootServer)),
            (Edk2, "", DIRECT, Err(Failure::Refused)),
            (Edk2, "small", MENU, Err(Failure::Refused)),
            (Edk2, "other", DIRECT, Err(Failure::Refused)),
        ] {
            let message = answer(file, options);
            let answer = Answer::parse(&message).unwrap();
            assert!(answer.is_offer() && answer.xid == 7);
            assert_eq!(answer.follow(firmware, "small", SERVER), next, "{firmware:?} {file}");
        }
    }

    #[test]
    fn another_server_or_none_is_not_followed() {
        let mut message = answer("small", DIRECT);
        message[SIADDR].copy_from_slice(&[10, 50, 0, 2]);
        let refused = Answer::parse(&message).unwrap().follow(Firmware::Edk2, "small", SERVER);
        assert_eq!(refused, Err(Failure::Refused));
        message[SIADDR].fill(0);
        let answer = Answer::parse(&message).unwrap();
        // EDK2 takes option 54 then; iPXE asks again.
        assert_eq!(answer.follow(Firmware::Edk2, "small", SERVER), Ok(Next::Load));
        assert_eq!(answer.follow(Firmware::Ipxe, "small", SERVER), Ok(Next::BootServer));
    }

    #[test]
    fn the_boot_server_must_acknowledge_with_the_file() {
        let ack = [b"\x35\x01\x05", &BARE[3..]].concat();
        let follow = |firmware, file: &str, options: &[u8], siaddr: [u8; 4]| {
            let mut message = answer(file, options);
            message[SIADDR].copy_from_slice(&siaddr);
            Answer::parse(&message).unwrap().follow_boot_server(firmware, "small", SERVER)
        };
        let right = SERVER.octets();
        for firmware in [Firmware::Ipxe, Firmware::Edk2] {
            assert_eq!(follow(firmware, "small", &ack, right), Ok(()));
            assert_eq!(follow(firmware, "", &ack, right), Err(Failure::Refused));
            assert_eq!(follow(firmware, "small", BARE, right), Err(Failure::Refused));
        }
        assert_eq!(follow(Firmware::Ipxe, "small", &ack, [0; 4]), Err(Failure::Refused));
        assert_eq!(follow(Firmware::Edk2, "small", &ack, [0; 4]), Ok(()));
    }

    #[test]
    fn what_is_no_answer_is_not_read() {
        let good = answer("small", DIRECT);
        assert!(Answer::parse(&good[..200]).is_none());
        let mut request = good.clone();
        request[0] = 1;
        assert!(Answer::parse(&request).is_none());
        let http = [&BARE[..9], b"\x3c\x0aHTTPClient\xff"].concat();
        assert!(!Answer::parse(&answer("small", &http)).unwrap().is_offer());
        // A cut option ends the list.
        assert!(!Answer::parse(&answer("small", &BARE[..15])).unwrap().is_offer());
    }
}
