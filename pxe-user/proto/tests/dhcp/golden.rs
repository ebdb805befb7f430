//! Recorded requests of real firmware: how pxed reads them, and each byte of its replies.

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::{DhcpOption, OptionCode};
use pxe_proto::dhcp::{Answer, Arch, BootItem, Class, Ignored, Message, Request, ServerPort, Style};

use crate::support::*;

/// The expected values of one request.
struct Facts {
    name: &'static str,
    message: Message,
    class: Class,
    arch: u16,
    ipxe: bool,
    item: Option<u16>,
    max_size: Option<u16>,
    broadcast: bool,
    server_id: bool,
}

const fn facts(name: &'static str, message: Message, arch: u16, ipxe: bool) -> Facts {
    let class = Class::Pxe;
    let (item, max_size, broadcast, server_id) = (None, Some(1472), false, false);
    Facts { name, message, class, arch, ipxe, item, max_size, broadcast, server_id }
}

/// The expected values, from the table in the README of the captures.
fn table() -> [Facts; 16] {
    use Message::{Discover, Request};
    let ovmf = |name, message| Facts { broadcast: true, ..facts(name, message, 7, false) };
    let http = |name, message| Facts { class: Class::Http, arch: 16, ..ovmf(name, message) };
    let item = |name, item| Facts { item: Some(item), broadcast: true, ..facts(name, Request, 0, true) };
    [
        facts("ipxe-bios-discover", Discover, 0, true),
        Facts { server_id: true, ..facts("ipxe-bios-request-67", Request, 0, true) },
        item("ipxe-bios-boot-server", 0x8000),
        item("ipxe-bios-menu-choice", 0x8000),
        facts("ipxe-lkrn-discover", Discover, 0, true),
        item("ipxe-lkrn-boot-server", 0x8002),
        facts("ipxe-efi-discover", Discover, 7, true),
        facts("snponly-efi-discover", Discover, 7, true),
        facts("ipxe-efi-rom-discover", Discover, 7, true),
        Facts { server_id: true, broadcast: true, ..facts("ipxe-efi-rom-4011", Request, 7, true) },
        ovmf("ovmf-discover", Discover),
        Facts { server_id: true, max_size: Some(65280), ..ovmf("ovmf-request-67", Request) },
        Facts { broadcast: false, ..ovmf("ovmf-4011", Request) },
        http("ovmf-http-discover", Discover),
        Facts { server_id: true, ..http("ovmf-http-request-67", Request) },
        http("ovmf-http-fallback", Discover),
    ]
}

#[test]
fn every_golden_request_is_read_as_its_capture_says() {
    let table = table();
    assert_eq!(table.each_ref().map(|facts| facts.name), GOLDEN);
    for facts in table {
        let (name, packet) = (facts.name, golden(facts.name));
        let request = Request::parse(&packet).expect(name);
        assert!(request.is_boot_request(), "{name}");
        assert_eq!(request.mac().expect(name).to_string(), "52:54:00:99:00:10", "{name}");
        let uuid = request.uuid().expect(name).to_string();
        assert_eq!(uuid, "c0ffee00-0099-4000-8000-000000000010", "{name}");
        assert_eq!(request.message(), Some(facts.message), "{name}");
        assert_eq!(request.class(), facts.class, "{name}");
        assert_eq!(request.arches().collect::<Vec<_>>(), [Arch(facts.arch)], "{name}");
        assert_eq!(request.is_ipxe(), facts.ipxe, "{name}");
        let item = facts.item.map(|boot_type| BootItem { boot_type, layer: 0 });
        assert_eq!(request.boot_item(), item, "{name}");
        assert_eq!(request.max_message_size(), facts.max_size, "{name}");
        assert_eq!(request.wants_broadcast(), facts.broadcast, "{name}");
        assert_eq!(request.server_id().is_some(), facts.server_id, "{name}");
        assert!(!request.is_raspberry_pi(), "{name}");
    }
}

/// Builds the expected bytes of a reply from the request's fields and literal options.
fn expected(request: &[u8], ciaddr: [u8; 4], file: &str, options: &[&[u8]]) -> Vec<u8> {
    let mut packet = vec![2, 1, 6, 0];
    packet.extend_from_slice(&request[4..8]);
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(&request[10..12]);
    packet.extend_from_slice(&ciaddr);
    packet.extend_from_slice(&[0, 0, 0, 0, 10, 99, 0, 2, 0, 0, 0, 0]);
    packet.extend_from_slice(&[0x52, 0x54, 0x00, 0x99, 0x00, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend_from_slice(&[0; 64]);
    packet.extend_from_slice(file.as_bytes());
    packet.resize(236, 0);
    packet.extend_from_slice(&[99, 130, 83, 99]);
    packet.extend(options.concat());
    packet.push(255);
    packet.resize(packet.len().max(300), 0);
    packet
}

const OFFER: &[u8] = &[53, 1, 2, 54, 4, 10, 99, 0, 2];
const ACK: &[u8] = &[53, 1, 5, 54, 4, 10, 99, 0, 2];
const PXE: &[u8] = b"\x3c\x09PXEClient";
const HTTP: &[u8] = b"\x3c\x0aHTTPClient";
const UUID: &[u8] = &[97, 17, 0, 0, 0xee, 0xff, 0xc0, 0x99, 0, 0, 0x40, 0x80, 0, 0, 0, 0, 0, 0, 0x10];
const DIRECT: &[u8] = &[43, 4, 6, 1, 8, 255];

#[test]
fn ovmf_direct_offer_byte_for_byte() {
    let (service, request) = (service(), golden("ovmf-discover"));
    let answered = on_67(&service, &request, Style::Direct).expect("an offer");
    let options = [OFFER, PXE, UUID, DIRECT];
    assert_eq!(answered.bytes, expected(&request, [0; 4], "memtest86+x64.efi", &options));
    assert!(
        matches!(answered.reply.summary.answer, Answer::Program(p) if p.file.as_str() == "memtest86+x64.efi")
    );
}

#[test]
fn ovmf_binl_offer_and_ack_byte_for_byte() {
    let (service, request) = (service(), golden("ovmf-discover"));
    let offer = on_67(&service, &request, Style::Binl).expect("an offer");
    assert_eq!(offer.bytes, expected(&request, [0; 4], "memtest86+x64.efi", &[OFFER, PXE, UUID]));
    let request = golden("ovmf-4011");
    let from = SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 115), 4011);
    let ack = ask(&service, &request, ServerPort::Port4011, from, Style::Binl).expect("an ack");
    assert_eq!(ack.bytes, expected(&request, [10, 99, 0, 115], "memtest86+x64.efi", &[ACK, PXE, UUID]));
    assert_eq!((ack.reply.from_port, ack.reply.to), (4011, from));
}

#[test]
fn ipxe_offers_byte_for_byte() {
    let service = service();
    for name in [
        "ipxe-bios-discover",
        "ipxe-lkrn-discover",
        "ipxe-efi-discover",
        "snponly-efi-discover",
        "ipxe-efi-rom-discover",
    ] {
        let request = golden(name);
        let answered = on_67(&service, &request, Style::Direct).expect(name);
        assert_eq!(
            answered.bytes,
            expected(&request, [0; 4], "boot.ipxe", &[OFFER, PXE, UUID, DIRECT]),
            "{name}"
        );
        assert!(matches!(answered.reply.summary.answer, Answer::Script(_)), "{name}");
    }
}

#[test]
fn ipxe_boot_server_ack_byte_for_byte() {
    let (service, request) = (menu_service(), golden("ipxe-bios-menu-choice"));
    let ack = on_4011(&service, &request, Style::Menu).expect("an ack");
    let item: &[u8] = &[43, 7, 71, 4, 0x80, 0, 0, 0, 255];
    assert_eq!(ack.bytes, expected(&request, [10, 99, 0, 115], "boot.ipxe", &[ACK, PXE, UUID, item]));
    assert_eq!((ack.reply.from_port, ack.reply.to), (4011, CLIENT));
}

#[test]
fn ipxe_plain_request_to_4011_is_acknowledged() {
    let (service, request) = (service(), golden("ipxe-efi-rom-4011"));
    let ack = on_4011(&service, &request, Style::Binl).expect("an ack");
    assert_eq!(ack.bytes, expected(&request, [10, 99, 0, 115], "boot.ipxe", &[ACK, PXE, UUID]));
}

#[test]
fn ovmf_http_offer_byte_for_byte() {
    let service = http_service();
    let url: &[u8] = b"\x43\x23http://10.99.0.2/memtest86+x64.efi\0";
    for name in ["ovmf-http-discover", "ovmf-http-fallback"] {
        let request = golden(name);
        let answered = on_67(&service, &request, Style::Direct).expect(name);
        assert_eq!(answered.bytes, expected(&request, [0; 4], "", &[OFFER, HTTP, UUID, url]), "{name}");
    }
}

#[test]
fn the_menu_offer_byte_for_byte() {
    let (service, request) = (menu_service(), golden("ovmf-discover"));
    let answered = on_67(&service, &request, Style::Menu).expect("an offer");
    let menu: &[&[u8]] = &[
        &[43, 69, 6, 1, 3],
        &[8, 14, 0x80, 0, 1, 10, 99, 0, 2, 0x80, 1, 1, 10, 99, 0, 2],
        &[9, 36],
        b"\x80\x00\x0bMemory test\x80\x01\x06Rescue\x00\x00\x0aLocal disk",
        b"\x0a\x09\x03Press F8",
        &[255],
    ];
    let options = [&[OFFER, PXE, UUID], menu].concat();
    assert_eq!(answered.bytes, expected(&request, [0; 4], "", &options));
    assert!(matches!(answered.reply.summary.answer, Answer::Menu(_)));
}

#[test]
fn broadcast_requests_of_real_clients_on_67_are_left_to_the_dhcp_server() {
    for name in ["ipxe-bios-request-67", "ovmf-request-67", "ovmf-http-request-67"] {
        for style in STYLES {
            let service = http_service();
            assert_eq!(on_67(&service, &golden(name), style).err(), Some(Ignored::RequestOnPort67), "{name}");
        }
    }
}

/// The fields of one whole reply, as dhcproto decodes them.
#[test]
fn dhcproto_reads_the_same_offer() {
    let (service, request) = (service(), golden("ovmf-discover"));
    let message = decode(&on_67(&service, &request, Style::Direct).expect("an offer").bytes);
    assert_eq!(message.xid(), 0xeb36_54c5);
    assert_eq!(message.siaddr(), SERVER);
    assert_eq!(message.yiaddr(), Ipv4Addr::UNSPECIFIED);
    assert!(message.flags().broadcast());
    assert_eq!(message.fname(), Some(&b"memtest86+x64.efi\0"[..]));
    assert_eq!(message.chaddr(), [0x52, 0x54, 0x00, 0x99, 0x00, 0x10]);
    let get = |code| message.opts().get(code).cloned();
    assert_eq!(get(OptionCode::ClassIdentifier), Some(DhcpOption::ClassIdentifier(b"PXEClient".to_vec())));
    assert_eq!(get(OptionCode::VendorExtensions), Some(DhcpOption::VendorExtensions(vec![6, 1, 8, 255])));
    let uuid = option(&request, 97).expect("OVMF sends it");
    assert_eq!(get(OptionCode::ClientMachineIdentifier), Some(DhcpOption::ClientMachineIdentifier(uuid)));
}
