//! Properties for any input: there is no panic, and each reply is complete. `ask` checks each reply by itself
//! and with dhcproto.

use std::net::SocketAddrV4;

use proptest::prelude::*;
use proptest::sample::select;
use pxe_proto::dhcp::{BootService, Printable, Request, ServerPort, Style};

use crate::support::*;

fn any_service() -> impl Strategy<Value = BootService> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(menu, http, ipxe_priority)| {
        let service = if menu { menu_service() } else { service() };
        let http = if http { http_service().http } else { Vec::new() };
        BootService { http, ipxe_priority, ..service }
    })
}

fn any_way() -> impl Strategy<Value = (ServerPort, SocketAddrV4, Style)> {
    let from =
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(address, port)| SocketAddrV4::new(address.into(), port));
    (
        select(vec![ServerPort::Port67, ServerPort::Port4011]),
        prop_oneof![Just(CLIENT), from],
        select(STYLES.to_vec()),
    )
}

/// Calls all accessors, so that the test covers each of them.
fn touch(packet: &[u8]) {
    if let Ok(request) = Request::parse(packet) {
        let _ = (
            request.mac(),
            request.uuid().map(|uuid| uuid.to_string()),
            request.boot_item(),
            request.class(),
        );
        let _ = (
            request.arches().count(),
            request.is_ipxe(),
            request.is_raspberry_pi(),
            request.relay_agent_info(),
        );
        let _ = Printable(request.client_id().unwrap_or_default()).to_string();
    }
}

/// Options that clients send, with lengths and contents that they should not have.
fn any_option() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let codes = vec![0_u8, 12, 43, 52, 53, 54, 55, 57, 60, 61, 77, 82, 93, 94, 97, 175, 250];
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(any::<u8>(), 200..256),
        Just(vec![0, 7]),
        Just(vec![71, 4, 0x80, 0, 0, 0, 255]),
        Just(b"iPXE".to_vec()),
    ];
    (select(codes), value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..1600), service in any_service(), way in any_way(),
    ) {
        touch(&bytes);
        let _ = ask(&service, &bytes, way.0, way.1, way.2);
    }

    #[test]
    fn arbitrary_options_never_panic(
        options in prop::collection::vec(any::<u8>(), 0..600), class in any::<bool>(), service in any_service(), way in any_way(),
    ) {
        let request = if class { Ask::pxe(1, 7) } else { Ask::empty() }.raw(&options).bytes();
        touch(&request);
        whole_or_none(&service, &request, way);
    }

    #[test]
    fn mutated_golden_packets_give_whole_replies_or_none(
        name in select(GOLDEN.to_vec()),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop_oneof![3 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)],
        service in any_service(), way in any_way(),
    ) {
        let mut packet = golden(name);
        for (at, byte) in &edits {
            let at = at.index(packet.len());
            packet[at] = *byte;
        }
        if let Some(cut) = cut {
            packet.truncate(cut.index(packet.len()));
        }
        touch(&packet);
        whole_or_none(&service, &packet, way);
    }

    /// Well-formed requests with any options, in any order and in any number of parts, get the full check of
    /// each reply.
    #[test]
    fn built_requests_give_whole_replies_or_none(
        options in prop::collection::vec(any_option(), 0..8), message in select(vec![DISCOVER, REQUEST]),
        arch in select(vec![0_u16, 7, 9, 11, 41, 99]), head in prop_oneof![Just([0; 16]), any::<[u8; 16]>()],
        service in any_service(), way in any_way(),
    ) {
        let mut request = Ask::pxe(message, arch).head(8, &head);
        for (code, value) in options {
            // With overload, dhcproto and pxed would read different fields. Overload has its own tests.
            if code != 52 && code != 0 {
                request = request.option(code, &value);
            }
        }
        let _ = ask(&service, &request.bytes(), way.0, way.1, way.2);
    }

    /// The same request gets the same reply, whatever the output buffer contained before.
    #[test]
    fn replies_depend_on_nothing_but_the_request(name in select(GOLDEN.to_vec()), service in any_service(), way in any_way(), dirt: u8) {
        let packet = golden(name);
        let request = Request::parse(&packet).expect("golden");
        let mut results = Vec::new();
        for fill in [0, dirt] {
            let mut out = [fill; 1472];
            let reply = pxe_proto::dhcp::reply(&service, &request, way.0, way.1, way.2, &mut out);
            results.push(reply.map(|reply| (reply, out[..reply.len].to_vec())));
        }
        prop_assert_eq!(&results[0], &results[1]);
    }
}

/// Like `ask`, for packets that the tests' own simple reader cannot read: checks only the reply.
fn whole_or_none(
    service: &BootService,
    packet: &[u8],
    (via, from, style): (ServerPort, SocketAddrV4, Style),
) {
    let mut out = [0xAA; 1472];
    let Ok(request) = Request::parse(packet) else { return };
    let Ok(reply) = pxe_proto::dhcp::reply(service, &request, via, from, style, &mut out) else { return };
    let bytes = &out[..reply.len];
    assert!((300..=1472).contains(&bytes.len()));
    assert_eq!((bytes[0], &bytes[16..20], bytes[235]), (2, &[0; 4][..], 0));
    let message = decode(bytes);
    assert!(message.opts().msg_type().is_some());
    assert_eq!(option(bytes, 54), Some(service.server.octets().to_vec()));
}
