//! Comparison with dhcproto as an independent decoder, and the reasons why pxed does not use it.

use dhcproto::v4::{self, DhcpOption, MessageType, OptionCode, UnknownOption};
use dhcproto::{Decodable, Decoder, Encodable};
use proptest::prelude::*;
use pxe_proto::dhcp::{Arch, BootService, Class, Message, Request, Style};

use crate::support::*;

/// RFC 3046 section 2.2 requires option 82 to come back unchanged. dhcproto sorts its sub-options and drops
/// repeated ones.
#[test]
fn dhcproto_does_not_give_option_82_back_as_it_came() {
    let relay = b"\x02\x01r\x01\x01c\x01\x01d";
    let request = Ask::pxe(DISCOVER, 7).option(82, relay).bytes();
    let decoded = v4::Message::decode(&mut Decoder::new(&request)).expect("well formed");
    let encoded = decoded.to_vec().expect("encodable");
    assert_ne!(option(&encoded, 82).as_deref(), Some(&relay[..]));
    let service = service();
    let ours = on_67(&service, &request, Style::Direct).expect("an offer");
    assert_eq!(option(&ours.bytes, 82).as_deref(), Some(&relay[..]));
}

/// RFC 4578 section 2.1 makes option 93 a list. dhcproto reads only its first entry.
#[test]
fn dhcproto_does_not_read_the_list_in_option_93() {
    let packet = Ask::empty().option(53, &[1]).option(60, b"PXEClient").option(93, &[0, 27, 0, 7]).bytes();
    let decoded = v4::Message::decode(&mut Decoder::new(&packet)).expect("well formed");
    let arch = decoded.opts().get(OptionCode::ClientSystemArchitecture).cloned();
    assert_eq!(arch, Some(DhcpOption::ClientSystemArchitecture(v4::Architecture::from(27))));
    let request = Request::parse(&packet).expect("well formed");
    assert_eq!(request.arches().collect::<Vec<_>>(), [Arch(27), Arch(7)]);
}

/// If option 93 has one byte, dhcproto ignores all options behind it and reports no error.
#[test]
fn dhcproto_stops_at_an_option_that_it_cannot_read() {
    let class = b"PXEClient:Arch:00007:UNDI:003000";
    let packet = Ask::empty().option(53, &[1]).option(93, &[0]).option(60, class).bytes();
    let decoded = v4::Message::decode(&mut Decoder::new(&packet)).expect("it never fails on options");
    assert_eq!(decoded.opts().get(OptionCode::ClassIdentifier), None);
    let request = Request::parse(&packet).expect("well formed");
    assert_eq!((request.vendor_class(), request.arches().collect()), (&class[..], vec![Arch(7)]));
}

/// RFC 3396 section 5: all parts of an option are one option. dhcproto joins only neighbours, and otherwise
/// keeps the last part.
#[test]
fn dhcproto_does_not_join_parts_with_others_between() {
    let packet = Ask::pxe(DISCOVER, 7).option(61, b"one ").option(12, b"x").option(61, b"two").bytes();
    let decoded = v4::Message::decode(&mut Decoder::new(&packet)).expect("well formed");
    let last = DhcpOption::ClientIdentifier(b"two".to_vec());
    assert_eq!(decoded.opts().get(OptionCode::ClientIdentifier), Some(&last));
    assert_eq!(Request::parse(&packet).expect("well formed").client_id(), Some(&b"one two"[..]));
}

/// dhcproto finds the options that it knows only by number, too.
#[test]
fn dhcproto_finds_175_209_and_210() {
    let service = BootService { ipxe_priority: true, ..service() };
    let unknown = |request: Ask, code: u8| {
        let answered = on_67(&service, &request.bytes(), Style::Direct).expect("an offer");
        match decode(&answered.bytes).opts().get(OptionCode::from(code)) {
            Some(DhcpOption::Unknown(option)) => option.data().to_vec(),
            other => panic!("{code}: {other:?}"),
        }
    };
    assert_eq!(unknown(Ask::pxe(DISCOVER, 0), 209), b"pxelinux.cfg/default");
    assert_eq!(unknown(Ask::pxe(DISCOVER, 0), 210), b"bios/");
    assert_eq!(unknown(Ask::pxe(DISCOVER, 0).option(77, b"iPXE"), 175), [1, 1, 1]);
}

proptest! {
    /// pxed reads what dhcproto writes.
    #[test]
    fn requests_written_by_dhcproto_are_read_alike(
        xid: u32, secs: u16, broadcast: bool, ciaddr: [u8; 4], giaddr: [u8; 4], mac: [u8; 6], discover: bool,
        arch: u16, server: Option<[u8; 4]>, max_size: Option<u16>, uuid: [u8; 16], id in prop::collection::vec(any::<u8>(), 0..600),
        ipxe: bool,
    ) {
        let mut message = v4::Message::default();
        message.set_xid(xid).set_secs(secs).set_ciaddr(ciaddr).set_giaddr(giaddr).set_chaddr(&mac);
        if broadcast {
            message.set_flags(v4::Flags::default().set_broadcast());
        }
        let kind = if discover { MessageType::Discover } else { MessageType::Request };
        let opts = message.opts_mut();
        opts.insert(DhcpOption::MessageType(kind));
        opts.insert(DhcpOption::ClassIdentifier(b"PXEClient".to_vec()));
        opts.insert(DhcpOption::ClientSystemArchitecture(arch.into()));
        opts.insert(DhcpOption::ClientMachineIdentifier([&[0], &uuid[..]].concat()));
        opts.insert(DhcpOption::Hostname("a-name-of-no-interest".to_owned()));
        // dhcproto splits a value above 255 bytes, as RFC 3396 requires.
        if !id.is_empty() && id.len() <= 512 {
            opts.insert(DhcpOption::ClientIdentifier(id.clone()));
        }
        if ipxe {
            opts.insert(DhcpOption::Unknown(UnknownOption::new(OptionCode::from(175), vec![1, 1, 0])));
        }
        if let Some(server) = server {
            opts.insert(DhcpOption::ServerIdentifier(server.into()));
        }
        if let Some(max_size) = max_size {
            opts.insert(DhcpOption::MaxMessageSize(max_size));
        }
        let packet = message.to_vec().expect("encodable");
        let request = Request::parse(&packet).expect("well formed");
        prop_assert_eq!(request.xid(), xid);
        prop_assert_eq!(request.secs(), secs);
        prop_assert_eq!(request.wants_broadcast(), broadcast);
        prop_assert_eq!(request.ciaddr().octets(), ciaddr);
        prop_assert_eq!(request.giaddr().octets(), giaddr);
        prop_assert_eq!(request.mac().map(|mac| mac.0), Some(mac));
        prop_assert_eq!(request.message(), Some(if discover { Message::Discover } else { Message::Request }));
        prop_assert_eq!(request.class(), Class::Pxe);
        prop_assert_eq!(request.arches().collect::<Vec<_>>(), vec![Arch(arch)]);
        prop_assert_eq!(request.server_id().map(|id| id.octets()), server);
        prop_assert_eq!(request.max_message_size(), max_size);
        prop_assert_eq!(request.is_ipxe(), ipxe);
        if !id.is_empty() && id.len() <= 512 {
            prop_assert_eq!(request.client_id(), Some(&id[..]));
        }
    }
}
