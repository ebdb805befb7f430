//! DHCP and TFTP together: a machine's requests for files decide the style of its next offers.

use std::net::{Ipv4Addr, SocketAddrV4};

use pxe_engine::counters::Counter;
use pxe_fleet::event::Event;
use pxe_proto::dhcp::{Arch, Style};
use pxe_proto::mac::Mac;

use crate::support::*;

fn machine(packet: &[u8]) -> Option<pxe_proto::mac::Mac> {
    pxe_proto::dhcp::Request::parse(packet).unwrap().mac()
}

fn styles(lab: &Lab) -> Vec<Style> {
    let told = lab.notes.events.iter().filter_map(|event| match event {
        Event::Offered { style, .. } => Some(*style),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_machine_that_ignores_direct_offers_gets_binl_until_it_loads() {
    let mut lab = Lab::telling(Arch::X64);
    let discover = packet("ovmf-discover");
    for _ in 0..4 {
        assert_eq!(lab.say_as(DHCP_CLIENT, DHCP_SERVERS, &discover).len(), 1);
        lab.wait(4000);
    }
    assert_eq!(styles(&lab), [Style::Direct, Style::Direct, Style::Direct, Style::Binl]);
    assert_eq!(lab.count(Counter::Offers), 4);
    // The MAC of the DISCOVER counts. A request for a file shows that the machine has understood its offer,
    // so the style stays.
    let link = pxe_proto::datagram::Link::untagged(machine(&discover).unwrap());
    let request = rrq("file", &[]);
    let to = SocketAddrV4::new(SERVER, 69);
    let datagram = pxe_proto::datagram::Datagram { link, from: CLIENT, to, payload: &request };
    for _ in 0..3 {
        lab.responder.handle(lab.notes.now, &datagram, &mut lab.notes);
        lab.load();
        lab.say_as(DHCP_CLIENT, DHCP_SERVERS, &discover);
        lab.wait(4000);
    }
    assert_eq!(styles(&lab)[4..], [Style::Binl; 3]);
}

#[test]
fn a_machine_without_an_image_is_reported_by_name_and_counted() {
    let mut lab = Lab::telling(Arch::X64);
    for _ in 0..3 {
        assert!(lab.say_as(DHCP_CLIENT, DHCP_SERVERS, &packet("ipxe-bios-discover")).is_empty());
    }
    let arches = lab.notes.events.iter().map(|event| match event {
        Event::Unanswered { requester, .. } => requester.arch,
        other => panic!("{other:?}"),
    });
    let arches: Vec<_> = arches.collect();
    // The responder reports it each time. The journal logs it once (fleet::journal).
    assert_eq!(arches, [Arch(0); 3]);
    assert_eq!(lab.count(pxe_proto::dhcp::Ignored::NoImageForArch(Arch(0))), 3);
}

#[test]
fn offers_come_from_our_address_and_port_67() {
    let mut lab = Lab::telling(Arch::X64);
    let sent = lab.say_as(DHCP_CLIENT, DHCP_SERVERS, &packet("ovmf-discover"));
    assert_eq!(sent[0].route.from, SocketAddrV4::new(SERVER, 67));
    assert_eq!(sent[0].route.to, SocketAddrV4::new(Ipv4Addr::BROADCAST, 68));
}

/// Of the offers to machines that ask for broadcast ones, one in a minute is. Then others see that pxed is there.
#[test]
fn an_offer_goes_to_its_machine_alone_and_once_a_minute_to_all() {
    let mut lab = Lab::telling(Arch::X64);
    let peer =
        |lab: &mut Lab, name: &str| lab.say_as(DHCP_CLIENT, DHCP_SERVERS, &packet(name))[0].route.link.peer;
    let (all, alone) = (Mac([0xff; 6]), machine(&packet("ovmf-discover")).unwrap());
    assert_eq!(peer(&mut lab, "ovmf-discover"), all);
    assert_eq!(peer(&mut lab, "ovmf-discover"), alone);
    lab.wait(59_000);
    assert_eq!(peer(&mut lab, "ovmf-discover"), alone);
    lab.wait(1000);
    assert_eq!(peer(&mut lab, "ovmf-discover"), all);
}
