//! `[access]`: a machine that is not allowed gets no reply to any request.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use pxe_content::rules::Access;
use pxe_engine::counters::Counter;
use pxe_proto::datagram::Link;
use pxe_proto::dhcp::{Arch, Firmware, Ignored};
use pxe_proto::mac::Mac;

use crate::support::*;

const TFTP: SocketAddrV4 = SocketAddrV4::new(SERVER, 69);

fn lab(allow: &[&str]) -> Lab {
    let lab = Lab::telling(Arch::BIOS);
    let allow = allow.iter().map(|text| text.parse().unwrap()).collect();
    lab.sources.access.store(Arc::new(Access::only(allow)));
    lab
}

/// Whether a DISCOVER of this machine gets a reply. With `relay`, it comes through that relay.
fn offers(lab: &mut Lab, mac: Mac, relay: Option<Ipv4Addr>) -> bool {
    let firmware = Firmware { mac, arch: Arch::BIOS, class: None, user_class: None, uuid: None, relay };
    let (from, to) = match relay {
        Some(relay) => (SocketAddrV4::new(relay, 67), SERVER),
        None => (SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68), Ipv4Addr::BROADCAST),
    };
    let sent = lab.say_over(Link::untagged(mac), from, SocketAddrV4::new(to, 67), &firmware.discover());
    !sent.is_empty()
}

const OTHER: Mac = Mac([4, 0, 0, 0, 0, 1]);

#[test]
fn who_is_not_on_the_list_gets_silence_on_each_port() {
    let mut lab = lab(&["04:00:00:*"]);
    assert!(offers(&mut lab, OTHER, None) && !offers(&mut lab, MAC, None));
    assert_eq!(lab.count(Ignored::NotAllowed), 1);
    for request in [rrq("file", &[]), rrq("nowhere", &[]), wrq("x", &[]), b"\0\x01f\0mail\0".to_vec()] {
        assert!(lab.say_as(CLIENT, TFTP, &request).is_empty(), "not even an ERROR");
    }
    assert_eq!(lab.count(Counter::NotAllowed), 4);
    lab.assert_idle();
    assert_eq!(lab.say_over(Link::untagged(OTHER), CLIENT, TFTP, &rrq("file", &[])).len(), 1);
}

#[test]
fn a_network_means_machines_there_and_behind_a_relay_there() {
    let mut lab = lab(&["10.0.0.0/24", "10.7.0.0/16"]);
    // A machine without an address counts as part of our own network.
    assert!(offers(&mut lab, MAC, None));
    assert!(offers(&mut lab, MAC, Some(Ipv4Addr::new(10, 7, 1, 1))));
    assert!(!offers(&mut lab, MAC, Some(Ipv4Addr::new(10, 8, 1, 1))));
    assert_eq!(lab.say_as(CLIENT, TFTP, &rrq("file", &[])).len(), 1);
    let far = SocketAddrV4::new(Ipv4Addr::new(10, 8, 0, 1), 2070);
    assert!(lab.say_as(far, TFTP, &rrq("file", &[])).is_empty());
}

/// Plain sockets hide the frame, so the host's neighbour table says which machine has an address.
#[test]
fn over_sockets_the_host_knows_the_neighbours() {
    let mut lab = lab(&["04:00:00:*"]);
    assert!(lab.say_over(Link::default(), CLIENT, TFTP, &rrq("file", &[])).is_empty(), "nobody knows it");
    lab.notes.neighbours.insert(*CLIENT.ip(), OTHER);
    assert_eq!(lab.say_over(Link::default(), CLIENT, TFTP, &rrq("file", &[])).len(), 1);
}

/// A new list does not change a running transfer.
#[test]
fn a_new_list_ends_no_transfer() {
    let mut lab = Lab::new(&[("file", &content(2000))]);
    let (port, _) = lab.ask("file", &[]);
    lab.sources.access.store(Arc::new(Access::only(vec!["04:00:00:*".parse().unwrap()])));
    assert_eq!(lab.say(port, &ack(1)), [Said::Data(2, 512)]);
    assert_eq!(lab.say(69, &rrq("file", &[])), []);
}
