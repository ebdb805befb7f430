//! Rate limits: a machine that behaves as in clients.md, sections 1 to 3, never reaches its limit. Requests
//! beyond the limit are dropped and counted.

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

/// When requests arrive, in milliseconds after power-on.
type Times = Vec<u64>;

/// The DHCP requests of one machine at its fastest, when no server replies (clients.md, section 1).
const DHCP: [(&str, &[u64]); 3] = [
    // DISCOVERs, and after a menu offer the boot-server requests; neither gets a reply.
    ("iPXE", &[0, 1000, 3000, 7000, 7000, 7250, 7800, 8840]),
    ("EDK2", &[0, 4000, 12_000, 28_000, 28_000, 29_000, 31_000, 34_000]),
    // UEFI HTTP boot comes before or after PXE, with the same times.
    ("EDK2 over HTTP", &[0, 4000, 12_000, 28_000]),
];

/// The requests for one file, when no server replies.
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

/// Most files and look-ups that one boot requests, one after the other without a pause, as on a network
/// without delay. No known boot needs more. EDK2 requests each file twice.
const BOOT: [(&str, u64); 5] = [
    ("PXELINUX: program, 11 look-ups, 6 modules, kernel, initrd", 20),
    ("iPXE: program, autoexec, script, kernel, initrd", 8),
    ("EDK2 and shim: program, revocations, GRUB, each with its probe", 12),
    ("GRUB: lists, modules, fonts, 4 configuration files, kernel, initrd", 100),
    ("Raspberry Pi: 60 names, each with and without its serial number", 120),
];

/// How many of these requests are refused.
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

/// The same requests again and again, `count` times, with `every` milliseconds from one start to the next.
fn again(times: &[u64], every: u64, count: u64) -> Times {
    (0..count).flat_map(|n| times.iter().map(move |at| n * every + at)).collect()
}

#[test]
fn no_machine_asks_too_often_by_dhcp() {
    let rate = RateLimits::default().rates().dhcp;
    for (name, times) in DHCP {
        assert_eq!(refused(rate, times.to_vec()), 0, "{name}");
        // The machine is switched off and on ten times in a minute.
        assert_eq!(refused(rate, again(times, 6000, 10)), 0, "{name}, again and again");
    }
    // Everything that one machine can send at once: PXE, HTTP boot, then iPXE itself, on a network that
    // duplicates each packet.
    let all: Times = DHCP.iter().flat_map(|(_, times)| times.iter().copied()).collect();
    assert_eq!(refused(rate, [all.clone(), all].concat()), 0);
}

#[test]
fn no_machine_asks_too_often_for_files() {
    let rate = RateLimits::default().rates().tftp;
    for manners in clients::ALL {
        let times = unanswered(&manners);
        assert_eq!(refused(rate, times.clone()), 0, "{}", manners.name);
        // There is no reply, so the machine is switched off and on every five seconds, for five minutes.
        assert_eq!(refused(rate, again(&times, 5000, 60)), 0, "{}, again and again", manners.name);
        // Sixteen guests share one address.
        assert_eq!(refused(rate, times.repeat(16)), 0, "16 times {}", manners.name);
    }
    for (name, count) in BOOT {
        let boot = vec![0; count as usize];
        assert_eq!(refused(rate, boot.repeat(16)), 0, "16 times {name}");
        // One machine boots without a pause, as fast as a machine can boot.
        assert_eq!(refused(rate, again(&boot, 2000, 300)), 0, "{name}, again and again");
    }
}

/// A thousand machines are switched on at once, and the responder itself limits rates. Each machine has its
/// own address.
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
        // PXELINUX's look-ups, one after the other.
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
    // The source port and the file do not matter.
    let answers: usize =
        (0..100).map(|n| lab.say_as(from(7, 2000 + n), tftp, &rrq("nowhere", &[])).len()).sum();
    assert_eq!((answers, lab.count(Counter::TftpRate)), (5, 95));
    assert_eq!(lab.say_as(from(8, 2000), tftp, &rrq("nowhere", &[])).len(), 1, "another machine");
    lab.wait(1000);
    let answers: usize =
        (0..100).map(|n| lab.say_as(from(7, 3000 + n), tftp, &rrq("nowhere", &[])).len()).sum();
    assert_eq!(answers, 5, "a second later");
    // Without a limit, no request is refused.
    lab.sources.rates.store(Arc::default());
    let answers: usize =
        (0..100).map(|n| lab.say_as(from(7, 5000 + n), tftp, &rrq("nowhere", &[])).len()).sum();
    assert_eq!(answers, 100);
}

/// Through a relay, and on port 4011 through a router, the frames of all machines have the router's Ethernet
/// address.
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
    // A machine on our link is identified by its frame, whatever address it forges in the message.
    let (own, to) = (Link::untagged(MAC), SocketAddrV4::new(Ipv4Addr::BROADCAST, 67));
    let from = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
    let answers: usize =
        (0..20).map(|n| lab.say_over(own, from, to, &firmware(n, None).discover()).len()).sum();
    assert_eq!((answers, lab.count(Ignored::ForeignChaddr), lab.count(Ignored::Rate)), (0, 5, 31));
}
