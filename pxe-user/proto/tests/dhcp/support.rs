//! Helpers for the tests: requests, services, and the checks that hold for each reply.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use dhcproto::v4::{self, DhcpOption, OptionCode};
use dhcproto::{Decodable, Decoder};
use pxe_proto::dhcp::{
    Arch, BootFile, BootService, Ignored, MAX_REPLY, Menu, MenuItem, Program, Programs, Reply, Request,
    ServerPort, Style, Text, Url, reply,
};

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
pub(crate) const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 115), 68);
pub(crate) const STYLES: [Style; 3] = [Style::Direct, Style::Binl, Style::Menu];
pub(crate) const DISCOVER: u8 = 1;
pub(crate) const REQUEST: u8 = 3;

/// The recorded packets, by their file names without `.bin`.
pub(crate) const GOLDEN: [&str; 16] = [
    "ipxe-bios-discover",
    "ipxe-bios-request-67",
    "ipxe-bios-boot-server",
    "ipxe-bios-menu-choice",
    "ipxe-lkrn-discover",
    "ipxe-lkrn-boot-server",
    "ipxe-efi-discover",
    "snponly-efi-discover",
    "ipxe-efi-rom-discover",
    "ipxe-efi-rom-4011",
    "ovmf-discover",
    "ovmf-request-67",
    "ovmf-4011",
    "ovmf-http-discover",
    "ovmf-http-request-67",
    "ovmf-http-fallback",
];

pub(crate) fn golden(name: &str) -> Vec<u8> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/packets/dhcp").join(format!("{name}.bin"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub(crate) fn text(s: &str) -> Text {
    Text::new(s).expect("a valid text")
}

pub(crate) fn program(name: &str) -> Program {
    BootFile::new(name).expect("a valid name").into()
}

/// Programs for BIOS (PXELINUX with 209 and 210), UEFI x64, ARM64, Raspberry Pi and iPXE.
pub(crate) fn programs() -> Programs {
    let mut programs = Programs::default();
    programs.set(
        Arch::BIOS,
        Program {
            file: BootFile::new("pxelinux.0").expect("a valid name"),
            config: Some(text("pxelinux.cfg/default")),
            path_prefix: Some(text("bios/")),
        },
    );
    programs.set(Arch::X64, program("memtest86+x64.efi"));
    programs.set(Arch::ARM64, program("arm64.efi"));
    programs.set(Arch::RPI, program("bootcode.bin"));
    programs.set_ipxe(program("boot.ipxe"));
    programs
}

pub(crate) fn service() -> BootService {
    BootService { programs: programs(), ..BootService::new(SERVER) }
}

pub(crate) fn http_service() -> BootService {
    let url = Url::new("http://10.99.0.2/memtest86+x64.efi").expect("a valid URL");
    BootService { http: vec![(Arch::X64_HTTP, url)], ..service() }
}

/// A service whose menu has two boot services and local boot.
pub(crate) fn menu_service() -> BootService {
    let mut rescue = Programs::default();
    rescue.set(Arch::BIOS, program("rescue.0"));
    rescue.set(Arch::X64, program("rescue.efi"));
    let items = vec![
        MenuItem::boot(0x8000, text("Memory test"), None).expect("a valid item"),
        MenuItem::boot(0x8001, text("Rescue"), Some(rescue)).expect("a valid item"),
        MenuItem::local(text("Local disk")),
    ];
    BootService { menu: Some(Menu::new(text("Press F8"), 3, items).expect("a valid menu")), ..service() }
}

/// A request, byte by byte. A test can change header fields in `head`; options are appended in order.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) head: [u8; 240],
    pub(crate) options: Vec<u8>,
}

impl Ask {
    /// A BOOTREQUEST over Ethernet from 52:54:00:00:00:01, with xid 0x01020304 and no options.
    pub(crate) fn empty() -> Self {
        let mut head = [0; 240];
        head[..8].copy_from_slice(&[1, 1, 6, 0, 1, 2, 3, 4]);
        head[28..34].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 1]);
        head[236..].copy_from_slice(&[99, 130, 83, 99]);
        Self { head, options: Vec::new() }
    }

    /// A PXE client's message with options 53, 60 and 93.
    pub(crate) fn pxe(message: u8, arch: u16) -> Self {
        let class = format!("PXEClient:Arch:{arch:05}:UNDI:003016");
        Self::empty().option(53, &[message]).option(60, class.as_bytes()).option(93, &arch.to_be_bytes())
    }

    pub(crate) fn option(mut self, code: u8, value: &[u8]) -> Self {
        for part in value.chunks(255) {
            self.options.extend([code, u8::try_from(part.len()).expect("at most 255")]);
            self.options.extend_from_slice(part);
        }
        if value.is_empty() {
            self.options.extend([code, 0]);
        }
        self
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.options.extend_from_slice(bytes);
        self
    }

    pub(crate) fn head(mut self, at: usize, bytes: &[u8]) -> Self {
        self.head[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        [&self.head[..], &self.options, &[255]].concat()
    }
}

/// A reply and its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answered<'s> {
    pub(crate) reply: Reply<'s>,
    pub(crate) bytes: Vec<u8>,
}

/// Sends a request to the service, and checks what must hold for each reply.
pub(crate) fn ask<'s>(
    service: &'s BootService,
    request: &[u8],
    via: ServerPort,
    from: SocketAddrV4,
    style: Style,
) -> Result<Answered<'s>, Ignored> {
    let mut out = [0xAA; MAX_REPLY];
    let parsed = Request::parse(request)?;
    let reply = reply(service, &parsed, via, from, style, &mut out)?;
    let bytes = out[..reply.len].to_vec();
    check(request, &reply, &bytes, service);
    Ok(Answered { reply, bytes })
}

pub(crate) fn on_67<'s>(
    service: &'s BootService,
    request: &[u8],
    style: Style,
) -> Result<Answered<'s>, Ignored> {
    ask(service, request, ServerPort::Port67, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68), style)
}

pub(crate) fn on_4011<'s>(
    service: &'s BootService,
    request: &[u8],
    style: Style,
) -> Result<Answered<'s>, Ignored> {
    ask(service, request, ServerPort::Port4011, CLIENT, style)
}

/// clients.md lines 3, 4, 5, 7, 8 and 11, which hold for each reply: checked here and with dhcproto.
fn check(request: &[u8], reply: &Reply<'_>, bytes: &[u8], service: &BootService) {
    let (server, files) = (service.server, service.boot_server.unwrap_or(service.server));
    assert!((300..=1472).contains(&bytes.len()), "length {}", bytes.len());
    assert_eq!(bytes[0], 2, "BOOTREPLY");
    assert_eq!(bytes[1..3], request[1..3], "htype, hlen");
    assert_eq!(bytes[4..8], request[4..8], "xid");
    let flags = if request[24..28] == [0; 4] { &request[10..12] } else { &[0x80, 0] };
    assert_eq!(bytes[10..12], *flags, "flags");
    assert_eq!(bytes[16..20], [0; 4], "yiaddr");
    assert_eq!(bytes[20..24], files.octets(), "siaddr");
    assert_eq!(bytes[24..44], request[24..44], "giaddr, chaddr");
    assert_eq!(bytes[44..108], [0; 64], "sname");
    assert_eq!(bytes[235], 0, "file ends with NUL");
    assert_eq!(bytes[236..240], [99, 130, 83, 99], "cookie");
    let message = decode(bytes);
    let kind = if reply.summary.ack { v4::MessageType::Ack } else { v4::MessageType::Offer };
    assert_eq!(message.opts().msg_type(), Some(kind));
    assert_eq!(message.opts().get(OptionCode::ServerIdentifier), Some(&DhcpOption::ServerIdentifier(server)));
    assert!(option(bytes, 60).is_some_and(|class| class == b"PXEClient" || class == b"HTTPClient"));
    let uuid = option(request, 97).filter(|uuid| !uuid.is_empty());
    assert_eq!(option(bytes, 97), uuid, "97 is echoed");
    assert_eq!(option(bytes, 82), option(request, 82), "82 is echoed");
}

/// Decodes a reply with dhcproto. dhcproto stops without an error at an option that it cannot read, so this
/// function compares the codes.
pub(crate) fn decode(bytes: &[u8]) -> v4::Message {
    let message = v4::Message::decode(&mut Decoder::new(bytes)).expect("dhcproto reads our reply");
    let codes: Vec<u8> = (1..255).filter(|code| option(bytes, *code).is_some()).collect();
    let read: Vec<u8> = message.opts().iter().map(|(code, _)| u8::from(*code)).collect();
    assert!(
        codes.iter().all(|code| read.contains(code)) && codes.len() == read.len(),
        "{codes:?} but {read:?}"
    );
    message
}

/// Returns an option's bytes from the options field (not from an overloaded one), with its parts joined. In a
/// reply it checks that END exists and that only zeros follow.
pub(crate) fn option(packet: &[u8], wanted: u8) -> Option<Vec<u8>> {
    let mut found: Option<Vec<u8>> = None;
    let mut at = 240;
    while at < packet.len() && packet[at] != 255 {
        if packet[at] == 0 {
            at += 1;
            continue;
        }
        let len = usize::from(packet[at + 1]);
        if packet[at] == wanted {
            found.get_or_insert_default().extend_from_slice(&packet[at + 2..at + 2 + len]);
        }
        at += 2 + len;
    }
    if packet[0] == 2 {
        assert_eq!(packet.get(at), Some(&255), "END");
        assert!(packet[at + 1..].iter().all(|byte| *byte == 0), "padding");
    }
    found
}

/// Returns the header's `file`, up to its NUL.
pub(crate) fn file(packet: &[u8]) -> &str {
    let end = packet[108..236].iter().position(|byte| *byte == 0).expect("a NUL within 128 bytes");
    std::str::from_utf8(&packet[108..108 + end]).expect("text")
}
