//! How often sources may ask: what machines do by clients.md, sections 1 to 3, is never too often, and what is too often is
//! silence with a counter.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use pxe_common::rate_limit::{Rate, Rates};
use pxe_engine::counters::Counter;
use pxe_engine::responder::RateLimits;
use pxe_proto::datagram::Link;
use pxe_proto::dhcp::{Arch, Firmware, Ignored};
use pxe_proto::mac::Mac;

use crate::clients::{self, Manners};
use crate::support::*;

/// When somebody asks, in milliseconds after power-on.
type Times = Vec<u64>;

/// DHCP of one machine that nobody answers, at its hastiest (clients.md, section 1).
const DHCP: [(&str, &[u64]); 3] = [
    // DISCOVERs, and after the offer of the menu its boot-server requests, of which none is answered either.
    ("iPXE", &[0, 1000, 3000, 7000, 7000, 7250, 7800, 8840]),
    ("EDK2", &[0, 4000, 12_000, 28_000, 28_000, 29_000, 31_000, 34_000]),
    // UEFI HTTP boot comes before or after PXE, in the same manner.
    ("EDK2 over HTTP", &[0, 4000, 12_000, 28_000]),
];

/// Requests for one file that nobody answers.
fn unanswered(manners: &Manners) -> Times {
    let mut times = vec![0];
    let mut now = 0;
    let mut repeats = 0;
    while let Some(wait) = manners.waits.wait(repeats, false) {
        now += wait.as_millis() as u64;
        repeats += 1;
        times.push(now);
    }
    times
}

/// Files and look-ups that one boot asks for, one upon the other on a network without any delay: more than any boot is
/// known to need. EDK2 asks twice for each.
const BOOT: [(&str, u64); 5] = [
    ("PXELINUX: program, 11 look-ups, 6 modules, kernel, initrd", 20),
    ("iPXE: program, autoexec, script, kernel, initrd", 8),
    ("EDK2 and shim: program, revocations, GRUB, each with its probe", 12),
    ("GRUB: lists, modules, fonts, 4 configuration files, kernel, initrd", 100),
    ("Raspberry Pi: 60 names, each with and without its serial number", 120),
];

/// How many of these are refused.
fn refused(rate: Rate, mut times: Times) -> usize {
    times.sort_unstable();
    let mut full = 0;
    let mut refused = 0;
    for at in times {
        match rate.take(full, (at + 1) * 1_000_000) {
            Some(next) => full = next,
            None => refused += 1,
        }
    }
    refused
}

/// All of these, begun anew each `every` milliseconds.
fn again(times: &[u64], every: u64, count: u64) -> Times {
    (0..count).flat_map(|n| times.iter().map(move |at| n * every + at)).collect()
}

#[test]
fn no_machine_asks_too_often_by_dhcp() {
    let rate = RateLimits::default().rates().dhcp;
    for (name, times) in DHCP {
        assert_eq!(refused(rate, times.to_vec()), 0, "{name}");
        // Somebody switches it off and on, ten times in a minute.
        assert_eq!(refused(rate, again(times, 6000, 10)), 0, "{name}, again and again");
    }
    // All that a machine has, at once: PXE, HTTP boot, then iPXE by itself, on a network that doubles everything.
    let all: Times = DHCP.iter().flat_map(|(_, times)| times.iter().copied()).collect();
    assert_eq!(refused(rate, [all.clone(), all].concat()), 0);
}

#[test]
fn no_machine_asks_too_often_for_files() {
    let rate = RateLimits::default().rates().tftp;
    for manners in clients::ALL {
        let times = unanswered(&manners);
        assert_eq!(refused(rate, times.clone()), 0, "{}", manners.name);
        // Nobody answers, so it is switched off and on each five seconds, for five minutes.
        assert_eq!(refused(rate, again(&times, 5000, 60)), 0, "{}, again and again", manners.name);
        // Sixteen guests have one address.
        assert_eq!(refused(rate, times.repeat(16)), 0, "16 times {}", manners.name);
    }
    for (name, count) in BOOT {
        let boot = vec![0; count as usize];
        assert_eq!(refused(rate, boot.repeat(16)), 0, "16 times {name}");
        // One machine that boots all the time, as fast as machines boot.
        assert_eq!(refused(rate, again(&boot, 2000, 300)), 0, "{name}, again and again");
    }
}

/// A thousand machines that are switched on at once, in front of a responder that meters: they have addresses of their own.
#[test]
fn a_thousand_machines_meet_no_limit() {
    let mut lab = Lab::telling(Arch::BIOS);
    lab.sources.rates.store(Arc::new(RateLimits::default().rates()));
    for n in 0..1000u16 {
        let [a, b] = n.to_be_bytes();
        let mac = Mac([2, 0, 0, 1, a, b]);
        let discover =
            Firmware { mac, arch: Arch::BIOS, class: None, user_class: None, uuid: None, relay: None }
                .discover();
        let from = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
        let offers =
            lab.say_over(Link::untagged(mac), from, SocketAddrV4::new(Ipv4Addr::BROADCAST, 67), &discover);
        assert_eq!(offers.len(), 1, "{mac}");
        let client = SocketAddrV4::new(Ipv4Addr::new(10, 0, 4 + a, b), 2070);
        // PXELINUX's look-ups, one upon the other.
        for look_up in 0..11 {
            let request = rrq(&format!("pxelinux.cfg/{look_up}"), &[("tsize", "0")]);
            assert_eq!(lab.say_as(client, SocketAddrV4::new(SERVER, 69), &request).len(), 1, "{mac}");
        }
    }
    assert_eq!((lab.count(Counter::TftpRate), lab.count(Ignored::Rate)), (0, 0));
}

fn limited() -> Lab {
    let lab = Lab::telling(Arch::BIOS);
    let rate = Rate::new(10, 5);
    lab.sources.rates.store(Arc::new(Rates { dhcp: rate, tftp: rate }));
    lab
}

#[test]
fn requests_beyond_the_rate_are_silence_and_others_are_served() {
    let mut lab = limited();
    let tftp = SocketAddrV4::new(SERVER, 69);
    let from = |n: u8, port| SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, n), port);
    // Whatever port it takes, and whatever it asks for.
    let answers: usize =
        (0..100).map(|n| lab.say_as(from(7, 2000 + n), tftp, &rrq("nowhere", &[])).len()).sum();
    assert_eq!((answers, lab.count(Counter::TftpRate)), (5, 95));
    assert_eq!(lab.say_as(from(8, 2000), tftp, &rrq("nowhere", &[])).len(), 1, "another machine");
    lab.wait(1000);
    let answers: usize =
        (0..100).map(|n| lab.say_as(from(7, 3000 + n), tftp, &rrq("nowhere", &[])).len()).sum();
    assert_eq!(answers, 5, "a second later");
    // Without a limit none is refused.
    lab.sources.rates.store(Arc::default());
    let answers: usize =
        (0..100).map(|n| lab.say_as(from(7, 5000 + n), tftp, &rrq("nowhere", &[])).len()).sum();
    assert_eq!(answers, 100);
}

/// Through a relay, and on 4011 through a router, frames have the router's address for all machines.
#[test]
fn machines_behind_a_router_have_buckets_of_their_own() {
    let mut lab = limited();
    let router = Link::untagged(Mac([2, 0, 0, 0, 0, 0xfe]));
    let relay = Ipv4Addr::new(10, 1, 0, 1);
    let firmware = |n: u8, relay| Firmware {
        mac: Mac([2, 0, 0, 2, 0, n]),
        arch: Arch::BIOS,
        class: None,
        user_class: None,
        uuid: None,
        relay,
    };
    let (dhcp, boot_server) = (SocketAddrV4::new(SERVER, 67), SocketAddrV4::new(SERVER, 4011));
    for n in 0..100 {
        let discover = firmware(n, Some(relay)).discover();
        assert_eq!(lab.say_over(router, SocketAddrV4::new(relay, 67), dhcp, &discover).len(), 1, "{n}");
        let address = Ipv4Addr::new(10, 1, 0, 100 + n);
        let request = firmware(n, None).boot_server(address, None);
        assert_eq!(
            lab.say_over(router, SocketAddrV4::new(address, 4011), boot_server, &request).len(),
            1,
            "{n}"
        );
    }
    assert_eq!(lab.count(Ignored::Rate), 0);
    let discover = firmware(1, Some(relay)).discover();
    let answers: usize =
        (0..20).map(|_| lab.say_over(router, SocketAddrV4::new(relay, 67), dhcp, &discover).len()).sum();
    assert_eq!((answers, lab.count(Ignored::Rate)), (4, 16));
    // Who speaks for itself is known by its frame, whatever address it invents in the message.
    let (own, to) = (Link::untagged(MAC), SocketAddrV4::new(Ipv4Addr::BROADCAST, 67));
    let from = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
    let answers: usize =
        (0..20).map(|n| lab.say_over(own, from, to, &firmware(n, None).discover()).len()).sum();
    assert_eq!((answers, lab.count(Ignored::ForeignChaddr), lab.count(Ignored::Rate)), (0, 5, 31));
}
