//! Which machine sent a request. On our link the frame identifies it, and `chaddr` must agree. Requests that
//! come another way are recognised as such.

use std::net::{Ipv4Addr, SocketAddrV4};

use pxe_engine::responder::ResponderSettings;
use pxe_fleet::event::{Event, Origin};
use pxe_proto::datagram::Link;
use pxe_proto::dhcp::{Arch, BootService, Ignored, Request, Style};
use pxe_proto::mac::Mac;

use crate::support::*;

const OURS: SocketAddrV4 = SocketAddrV4::new(SERVER, 67);
const RELAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 7, 0, 1), 67);
const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 66]);
const HIDDEN: Mac = Mac([0; 6]);

/// The same message through a relay: `giaddr` is the relay's address.
fn relayed(mut packet: Vec<u8>) -> Vec<u8> {
    packet[24..28].copy_from_slice(&RELAY.ip().octets());
    packet
}

fn origins(lab: &Lab) -> Vec<Origin> {
    let origins = lab.notes.events.iter().filter_map(|event| match event {
        Event::Offered { requester, .. } => Some(requester.origin),
        Event::Leased { origin, .. } => Some(*origin),
        _ => None,
    });
    origins.collect()
}

#[test]
fn on_the_link_nobody_asks_in_anothers_name() {
    let mut lab = Lab::telling(Arch::X64);
    let discover = packet("ovmf-discover");
    assert!(lab.say_over(Link::untagged(STRANGER), DHCP_CLIENT, DHCP_SERVERS, &discover).is_empty());
    // An address of the subnet, and a unicast to us, do not help either.
    let near = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 77), 68);
    assert!(lab.say_over(Link::untagged(STRANGER), near, OURS, &discover).is_empty());
    assert!(
        lab.say_over(Link::untagged(STRANGER), DHCP_CLIENT, DHCP_SERVERS, &packet("ovmf-request-67"))
            .is_empty()
    );
    assert_eq!(lab.count(Ignored::ForeignChaddr), 2);
    assert!(lab.notes.events.is_empty());
    assert_eq!(lab.say_as(DHCP_CLIENT, DHCP_SERVERS, &discover).len(), 1);
    assert_eq!(origins(&lab), [Origin::Link]);
}

#[test]
fn behind_a_bridge_that_rewrites_addresses_machines_boot_if_that_is_configured() {
    let mut service = BootService::new(SERVER);
    service.programs.set(Arch::X64, pxe_proto::dhcp::BootFile::new("file").unwrap().into());
    let settings = ResponderSettings { foreign_chaddr: true, ..settings() };
    let mut lab = Lab::with(settings, service, &[("file", b"program")]);
    assert_eq!(
        lab.say_over(Link::untagged(STRANGER), DHCP_CLIENT, DHCP_SERVERS, &packet("ovmf-discover")).len(),
        1
    );
    assert_eq!(origins(&lab), [Origin::Through(Some(STRANGER))]);
}

#[test]
fn a_relays_and_a_routers_frames_are_told_from_the_machines() {
    let mut lab = Lab::telling(Arch::X64);
    let discover = packet("ovmf-discover");
    assert_eq!(lab.say_over(Link::untagged(STRANGER), RELAY, OURS, &relayed(discover.clone())).len(), 1);
    // Through a router that is no relay, as for a request to port 4011.
    let far = SocketAddrV4::new(Ipv4Addr::new(10, 7, 0, 9), 68);
    assert_eq!(lab.say_over(Link::untagged(STRANGER), far, OURS, &discover).len(), 1);
    // Plain sockets: a broadcast is from our link, because no router forwards it. For a unicast, the kernel
    // may know the sender.
    assert_eq!(lab.say_over(Link::untagged(HIDDEN), DHCP_CLIENT, DHCP_SERVERS, &discover).len(), 1);
    assert_eq!(lab.say_over(Link::untagged(HIDDEN), far, OURS, &discover).len(), 1);
    let through = |mac| Origin::Through(mac);
    assert_eq!(
        origins(&lab),
        [through(Some(STRANGER)), through(Some(STRANGER)), Origin::Link, through(None)]
    );
    assert_eq!(lab.count(Ignored::ForeignChaddr), 0);
    // Such frames teach nothing about the firmware.
    for _ in 0..6 {
        lab.say_over(Link::untagged(STRANGER), far, OURS, &discover);
        lab.wait(4000);
    }
    let binl = |event: &Event| matches!(event, Event::Offered { style: Style::Binl, .. });
    assert!(!lab.notes.events.iter().any(binl));
}

#[test]
fn a_lease_that_is_taken_says_whose_an_address_is_and_gets_no_answer() {
    let mut lab = Lab::telling(Arch::X64);
    let request = packet("ovmf-request-67");
    let (mac, address) = {
        let request = Request::parse(&request).unwrap();
        (request.mac().unwrap(), request.lease().unwrap())
    };
    assert!(lab.say_as(DHCP_CLIENT, DHCP_SERVERS, &request).is_empty());
    assert!(lab.say_over(Link::untagged(STRANGER), RELAY, OURS, &relayed(request)).is_empty());
    let leases = lab.notes.events.iter().map(|event| match event {
        Event::Leased { mac, origin, address } => (*mac, *origin, *address),
        other => panic!("{other:?}"),
    });
    let leases: Vec<_> = leases.collect();
    assert_eq!(leases, [(mac, Origin::Link, address), (mac, Origin::Through(Some(STRANGER)), address)]);
    assert_eq!(lab.count(Ignored::RequestOnPort67), 2);
}
