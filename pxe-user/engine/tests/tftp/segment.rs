//! A segment that is shared, over plain sockets, where no kernel program decides whose machine it is: three
//! responders in virtual time, each of which receives every broadcast.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use pxe_common::segment::{Ranks, bucket};
use pxe_engine::responder::ResponderSettings;
use pxe_engine::segment::{Member, Segment};
use pxe_fleet::event::Event;
use pxe_proto::dhcp::{Arch, BootFile, BootService, Ignored};

use crate::support::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// The address of a responder.
fn address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 11 + index as u8)
}

/// Three responders on one link. `None` for one that is down.
struct Link {
    labs: [Option<Lab>; 3],
}

impl Link {
    fn new() -> Self {
        let members = NAMES.map(|name| Member { name: name.into(), weight: 1 });
        let table = Segment::new(members.into()).unwrap().table(|_| true);
        let lab = |index: usize| {
            let mut service = BootService::new(address(index));
            for arch in [Arch::X64, Arch::BIOS] {
                service.programs.set(arch, BootFile::new("file").unwrap().into());
            }
            let settings = ResponderSettings { address: address(index), ..settings() };
            let lab = Lab::with(settings, service, &[("file", b"program")]);
            lab.sources.ranks.store(Some(Arc::new(table.ranks(NAMES[index]))));
            Some(lab)
        };
        Self { labs: [0, 1, 2].map(lab) }
    }

    /// The index of the responder with this rank for a machine.
    fn ranked(&self, rank: u8, mac: [u8; 6]) -> usize {
        let of = |lab: &Lab| lab.sources.ranks.load().as_deref().map(|ranks| ranks.of(mac));
        self.labs.iter().position(|lab| lab.as_ref().and_then(of) == Some(rank)).unwrap()
    }

    /// All responders receive a broadcast. Returns which of them answer it.
    fn broadcast(&mut self, message: &[u8]) -> Vec<usize> {
        let mut answering = Vec::new();
        for (index, lab) in self.labs.iter_mut().enumerate() {
            let Some(lab) = lab else { continue };
            let sent = lab.say_as(DHCP_CLIENT, DHCP_SERVERS, message);
            assert!(sent.len() <= 1, "{sent:?}");
            for sent in sent {
                // Whoever answers leads the machine to itself: by the sender, siaddr and option 54.
                let own = address(index);
                assert_eq!(*sent.route.from.ip(), own);
                assert_eq!(sent.payload[20..24], own.octets());
                let identity = [&[54, 4][..], &own.octets()].concat();
                assert!(sent.payload.windows(6).any(|bytes| bytes == identity), "option 54");
                answering.push(index);
            }
        }
        answering
    }

    fn wait(&mut self, millis: u64) {
        self.labs.iter_mut().flatten().for_each(|lab| drop(lab.wait(millis)));
    }
}

fn machine(name: &str, mac: [u8; 6]) -> Vec<u8> {
    let mut message = packet(name);
    message[28..34].copy_from_slice(&mac);
    message
}

#[test]
fn each_machine_is_answered_by_its_owner_alone() {
    let mut link = Link::new();
    let mut served = [0; 3];
    for number in 0..=255 {
        let mac = [0x52, 0x54, 0, 0, 1, number];
        for name in ["ovmf-discover", "ipxe-bios-discover"] {
            let owner = link.ranked(0, mac);
            assert_eq!(link.broadcast(&machine(name, mac)), [owner]);
            served[owner] += 1;
            // Each stage ends with a DHCPREQUEST, which nobody answers.
            assert_eq!(link.broadcast(&machine("ovmf-request-67", mac)), [0usize; 0]);
            link.wait(3000);
        }
    }
    // 256 addresses in a row are one in each bucket.
    assert_eq!(served, [172, 170, 170]);
    for (lab, served) in link.labs.iter().flatten().zip(served) {
        assert_eq!(lab.count(Ignored::OtherResponder), 512 - served);
        let leases = lab.notes.events.iter().filter(|event| matches!(event, Event::Leased { .. })).count();
        assert_eq!(leases, 512, "each responder learns all addresses");
    }
}

#[test]
fn a_responder_that_is_down_costs_its_machines_one_retry_in_a_boot_of_two_stages() {
    for number in 0..30 {
        let mut link = Link::new();
        let mac = [0x52, 0x54, 0, 0, 2, number];
        let (owner, next) = (link.ranked(0, mac), link.ranked(1, mac));
        link.labs[owner] = None;
        let discover = machine("ovmf-discover", mac);
        assert_eq!(link.broadcast(&discover), [0usize; 0]);
        link.wait(4000);
        assert_eq!(link.broadcast(&discover), [next]);
        link.broadcast(&machine("ovmf-request-67", mac));
        link.wait(5000);
        assert_eq!(link.broadcast(&machine("snponly-efi-discover", mac)), [next], "iPXE, at once");
    }
}

#[test]
fn if_two_of_three_are_down_the_last_one_answers_at_the_third_request() {
    let mut link = Link::new();
    let mac = [0x52, 0x54, 0, 0, 3, 1];
    let last = link.ranked(2, mac);
    for rank in [0, 1] {
        let down = link.ranked(rank, mac);
        link.labs[down] = None;
    }
    let discover = machine("ovmf-discover", mac);
    for answering in [&[][..], &[], &[last], &[last]] {
        assert_eq!(link.broadcast(&discover), answering);
        link.wait(4000);
    }
}

/// A relay may know one responder only, and a boot server is asked by its address.
#[test]
fn what_is_sent_to_a_responder_itself_is_answered_by_it() {
    let mut link = Link::new();
    let mac = [0x52, 0x54, 0, 0, 4, 1];
    for (index, lab) in link.labs.iter_mut().flatten().enumerate() {
        let relay = SocketAddrV4::new(Ipv4Addr::new(10, 7, 0, 1), 67);
        let mut relayed = machine("ovmf-discover", mac);
        relayed[24..28].copy_from_slice(&relay.ip().octets());
        assert_eq!(lab.say_as(relay, SocketAddrV4::new(address(index), 67), &relayed).len(), 1, "{index}");
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 100), 4011);
        let to = SocketAddrV4::new(address(index), 4011);
        let sent = lab.say_as(from, to, &machine("ovmf-4011", mac));
        assert_eq!(sent.len(), 1, "{index}");
        assert_eq!(sent[0].payload[20..24], address(index).octets());
        assert_eq!(lab.count(Ignored::OtherResponder), 0);
    }
}

#[test]
fn ranks_may_change_while_the_responder_runs() {
    let mut lab = Lab::telling(Arch::X64);
    let discover = packet("ovmf-discover");
    let mac = <[u8; 6]>::try_from(&discover[28..34]).unwrap();
    assert_eq!(lab.say_as(DHCP_CLIENT, DHCP_SERVERS, &discover).len(), 1, "not shared");
    let mut ranks = Ranks::ALONE;
    ranks.0[usize::from(bucket(mac))] = 1;
    lab.sources.ranks.store(Some(Arc::new(ranks)));
    assert!(lab.say_as(DHCP_CLIENT, DHCP_SERVERS, &discover).is_empty(), "another's");
    lab.sources.ranks.store(Some(Arc::new(Ranks::ALONE)));
    assert_eq!(lab.say_as(DHCP_CLIENT, DHCP_SERVERS, &discover).len(), 1, "ours");
}
