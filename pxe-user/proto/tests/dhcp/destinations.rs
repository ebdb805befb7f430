//! The destinations of replies: relays, broadcast, and sources to which no reply can go.

use std::net::{Ipv4Addr, SocketAddrV4};

use pxe_proto::dhcp::{Ignored, ServerPort, Style};

use crate::support::*;

/// RFC 2131 section 4.1: "If the 'giaddr' field in a DHCP message from a client is non-zero, the server sends any return
/// messages to the 'DHCP server' port on the BOOTP relay agent".
#[test]
fn a_relayed_discover_is_answered_to_the_relay_on_port_67() {
    let service = service();
    let relay = Ipv4Addr::new(10, 7, 0, 1);
    let request = Ask::pxe(DISCOVER, 7).head(24, &relay.octets()).option(82, b"\x01\x04eth0\x02\x03abc");
    let from = SocketAddrV4::new(relay, 67);
    let answered =
        ask(&service, &request.bytes(), ServerPort::Port67, from, Style::Direct).expect("an offer");
    assert_eq!((answered.reply.from_port, answered.reply.to), (67, SocketAddrV4::new(relay, 67)));
    assert_eq!(answered.bytes[24..28], relay.octets());
    // Without the broadcast flag the relay would send the offer to 0.0.0.0. iPXE does not set the flag.
    assert_eq!((request.bytes()[10..12].to_vec(), &answered.bytes[10..12]), (vec![0; 2], &[0x80, 0][..]));
    assert_eq!(option(&answered.bytes, 82).as_deref(), Some(&b"\x01\x04eth0\x02\x03abc"[..]));
}

/// RFC 3046 section 2.1: option 82 is the last one before END.
#[test]
fn option_82_is_the_last_option() {
    let service = http_service();
    for request in [Ask::pxe(DISCOVER, 0), Ask::pxe(DISCOVER, 7).option(77, b"iPXE")] {
        let request = request.option(82, b"\x01\x01x").option(97, &[0; 17]);
        let answered = on_67(&service, &request.bytes(), Style::Direct).expect("an offer");
        let end = answered.bytes.iter().rposition(|byte| *byte == 255).expect("END");
        assert_eq!(answered.bytes[end - 5..end], *b"\x52\x03\x01\x01x");
    }
}

/// BINL through a relay: the request to 4011 is unicast, and its reply is unicast too, also if giaddr is set.
#[test]
fn binl_behind_a_relay_is_answered_to_its_source() {
    let service = service();
    let from = SocketAddrV4::new(Ipv4Addr::new(10, 7, 0, 42), 4011);
    for giaddr in [[0; 4], [10, 7, 0, 1]] {
        let request = Ask::pxe(REQUEST, 7).head(24, &giaddr).head(12, &from.ip().octets());
        let answered =
            ask(&service, &request.bytes(), ServerPort::Port4011, from, Style::Binl).expect("an ack");
        assert_eq!((answered.reply.from_port, answered.reply.to), (4011, from));
    }
}

/// clients.md section 5, line 25: "giaddr 255.255.255.255".
#[test]
fn a_giaddr_that_is_no_relay_is_refused() {
    let service = service();
    for giaddr in
        [[255, 255, 255, 255], [224, 0, 0, 1], [239, 1, 2, 3], [127, 0, 0, 1], [0, 0, 0, 1], [240, 0, 0, 1]]
    {
        let request = Ask::pxe(DISCOVER, 7).head(24, &giaddr);
        assert_eq!(
            on_67(&service, &request.bytes(), Style::Direct).err(),
            Some(Ignored::BadGiaddr),
            "{giaddr:?}"
        );
    }
}

#[test]
fn a_source_on_4011_that_cannot_be_answered_is_refused() {
    let service = service();
    let request = Ask::pxe(REQUEST, 7).bytes();
    let sources = [
        ([0, 0, 0, 0], 68),
        ([255, 255, 255, 255], 68),
        ([224, 0, 0, 1], 4011),
        ([127, 0, 0, 1], 4011),
        ([10, 99, 0, 115], 0),
    ];
    for (address, port) in sources {
        let from = SocketAddrV4::new(address.into(), port);
        let refused = ask(&service, &request, ServerPort::Port4011, from, Style::Binl).err();
        assert_eq!(refused, Some(Ignored::BadSource), "{from}");
    }
}

/// A forged request can name a victim by giaddr, or by its source on 4011. The victim gets one packet for
/// each forged packet, of about the same length. pxed sends nothing to ciaddr. A longer reply needs a menu,
/// or options that the request itself contains.
#[test]
fn an_answer_is_not_much_longer_than_its_request() {
    let smallest = |arch: &[u8], message: u8| {
        Ask::empty().option(53, &[message]).option(60, b"PXEClient").option(93, arch).option(57, &[5, 192])
    };
    let (plain, menu) = (service(), menu_service());
    for arch in [[0, 0], [0, 7], [0, 11]] {
        let discover = smallest(&arch, DISCOVER).head(24, &[10, 7, 0, 1]).head(12, &[10, 9, 9, 9]).bytes();
        let request = smallest(&arch, REQUEST).bytes();
        for (service, style, factor) in [(&plain, Style::Direct, 1.2), (&menu, Style::Menu, 1.5)] {
            let offer = on_67(service, &discover, style).expect("an offer");
            assert_eq!(offer.reply.to, SocketAddrV4::new([10, 7, 0, 1].into(), 67), "not to ciaddr");
            let ack = on_4011(service, &request, style).expect("an ack");
            for (asked, answer) in [(discover.len(), offer.bytes.len()), (request.len(), ack.bytes.len())] {
                assert!(answer as f64 <= asked as f64 * factor, "{style:?}: {answer} bytes for {asked}");
            }
        }
    }
}

/// The reply passes the broadcast flag to the layer that writes frames. Without the flag that layer may send
/// to the client's MAC.
#[test]
fn the_broadcast_flag_is_passed_on() {
    let service = service();
    for (flags, broadcast) in [([0x80, 0], true), ([0, 0], false), ([0x7f, 0xff], false)] {
        let request = Ask::pxe(DISCOVER, 7).head(10, &flags);
        let answered = on_67(&service, &request.bytes(), Style::Direct).expect("an offer");
        assert_eq!(answered.reply.broadcast, broadcast, "{flags:?}");
    }
}
