//! Rate limits, in the XDP program in the kernel and in the same code over slices.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use pxe_common::abi::{Config, dhcp_mode};
use pxe_common::rate_limit::{Rate, Rates, Source};
use pxe_common::{Drop, Pass, Service, SliceFrame, Verdict, classify};
use pxe_properties::frames::{CLIENT, OWN, TID, broadcast_67, config, golden, udp, with};
use pxe_properties::verdicts::{CLIENT_PORT, Kernel, action, known};

/// Token buckets for the code over slices. No time passes.
#[derive(Default)]
struct Buckets(HashMap<Source, u64>);

impl Buckets {
    fn verdict(&mut self, config: &Config, frame: &[u8]) -> Verdict {
        let admits = |rate: &Rate, source: &Source| {
            let full = self.0.entry(*source).or_default();
            match rate.take(*full, 1) {
                Some(next) => *full = next,
                None => return false,
            }
            true
        };
        classify(&SliceFrame(frame), config, |packet| packet.key() == known(), admits, |_| true)
    }
}

/// Above the rate, broadcasts and requests that may be for a DHCP server on this host pass to the host. All others are
/// dropped.
#[test]
fn what_comes_too_often_gets_its_verdict_in_the_kernel_and_in_user_space() {
    // So slow that no bucket gets a token during the test.
    let rate = |burst: u64| Rate { interval: 3_600_000_000_000, tolerance: 3_600_000_000_000 * (burst - 1) };
    let limited = Config { rates: Rates { dhcp: rate(3), tftp: rate(5) }, ..config() };
    let discover = broadcast_67(&golden("ovmf-discover"));
    let relayed = udp((CLIENT, 67), (OWN, 67), &golden("ovmf-discover"));
    let to_4011 = udp((CLIENT, 4011), (OWN, 4011), &golden("ovmf-4011"));
    let to_all = udp((CLIENT, 4011), (Ipv4Addr::BROADCAST, 4011), &golden("ovmf-4011"));
    let rrq = udp((CLIENT, CLIENT_PORT), (OWN, 69), b"\0\x01x\0octet\0");
    let (dhcp, boot_server) = (Service::Dhcp, Service::BootServer);
    let too_much = Verdict::Pass(Pass::DhcpRate);
    let cases = [
        ("broadcast", dhcp_mode::REDIRECT, &discover, Verdict::Copy(dhcp), 3, too_much),
        ("to us on 67", dhcp_mode::REDIRECT, &relayed, Verdict::Redirect(dhcp), 3, too_much),
        ("to us on 67, beside a server", dhcp_mode::COPY, &relayed, Verdict::Copy(dhcp), 3, too_much),
        (
            "to us on 4011",
            dhcp_mode::REDIRECT,
            &to_4011,
            Verdict::Redirect(boot_server),
            3,
            Verdict::Drop(Drop::BootServerRate),
        ),
        (
            "to us on 4011, beside a server",
            dhcp_mode::COPY,
            &to_4011,
            Verdict::Copy(boot_server),
            3,
            too_much,
        ),
        ("to all on 4011", dhcp_mode::REDIRECT, &to_all, Verdict::Copy(boot_server), 3, too_much),
        (
            "a file",
            dhcp_mode::REDIRECT,
            &rrq,
            Verdict::Redirect(Service::TftpRequest),
            5,
            Verdict::Drop(Drop::TftpRate),
        ),
    ];
    for (name, dhcp_mode, frame, within, burst, beyond) in cases {
        let config = Config { dhcp_mode, ..limited };
        let (mut kernel, mut slices) = (Kernel::new(&config, true), Buckets::default());
        for n in 0..10 {
            let expected = if n < burst { within } else { beyond };
            assert_eq!(slices.verdict(&config, frame), expected, "{name}, frame {n}, over a slice");
            assert_eq!(kernel.run(frame), (expected, action(expected)), "{name}, frame {n}, in the kernel");
        }
        // Another machine has its own bucket, keyed by its frame or its address.
        let other = match name {
            "broadcast" => with(frame, 11, frame[11] ^ 1),
            "a file" => udp((Ipv4Addr::new(10, 99, 0, 101), CLIENT_PORT), (OWN, 69), b"\0\x01x\0octet\0"),
            _ => continue,
        };
        assert_eq!(kernel.run(&other), (within, action(within)), "{name}: another machine");
        // Remove the limits while the program runs.
        kernel.programs.configure(&Config { rates: Rates::default(), ..config }).unwrap();
        assert_eq!(kernel.run(frame), (within, action(within)), "{name}: without limits");
    }
}

/// Behind a relay, each machine has its own bucket. On the link, the frame's source address counts, whatever `chaddr` says.
#[test]
fn behind_a_relay_each_machine_has_its_bucket_in_the_kernel() {
    let slow = Rate { interval: 3_600_000_000_000, tolerance: 0 };
    let config = Config { rates: Rates { dhcp: slow, tftp: Rate::OFF }, ..config() };
    let mut kernel = Kernel::new(&config, true);
    let message = |relay: [u8; 4], machine: u8| {
        let mut message = golden("ovmf-discover");
        message[24..28].copy_from_slice(&relay);
        message[33] = machine;
        message
    };
    for machine in 0..100 {
        let frame = udp((CLIENT, 67), (OWN, 67), &message([10, 7, 0, 1], machine));
        assert_eq!(kernel.run(&frame).0, Verdict::Redirect(Service::Dhcp), "{machine}");
        assert_eq!(kernel.run(&frame).0, Verdict::Pass(Pass::DhcpRate), "{machine} again");
    }
    assert_eq!(kernel.run(&broadcast_67(&message([0; 4], 0))).0, Verdict::Copy(Service::Dhcp));
    for machine in 1..100 {
        assert_eq!(kernel.run(&broadcast_67(&message([0; 4], machine))).0, Verdict::Pass(Pass::DhcpRate));
    }
}

/// A flood of forged addresses cannot do more than fill the map, and a new source is still served.
#[test]
fn invented_sources_are_forgotten_and_honest_ones_are_served() {
    let config = Config { rates: Rates { dhcp: Rate::OFF, tftp: Rate::new(100, 2000) }, ..config() };
    let mut kernel = Kernel::new(&config, true);
    let rrq = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        udp((Ipv4Addr::new(10, a, b, c), CLIENT_PORT), (OWN, 69), b"\0\x01x\0octet\0")
    };
    for n in 1..50_000 {
        kernel.programs.test_run(&rrq(n)).unwrap();
    }
    let counted: Vec<_> =
        kernel.programs.counters().unwrap().into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [("redirect_tftp_request", 49_999)]);
    assert_eq!(kernel.run(&rrq(1 << 22)).0, Verdict::Redirect(Service::TftpRequest));
}

/// Measures the time for a packet with and without limits, in turn, for `docs/decisions/0020-rate-limits.md`.
#[test]
#[ignore = "a measurement: cargo test -p pxe-tests --test limits --release -- --ignored --nocapture"]
fn what_a_limit_costs() {
    const ROUNDS: usize = 41;
    const RUNS: u32 = 200_000;
    // A bucket that never empties.
    let rate = Rate { interval: 1, tolerance: u64::MAX / 2 };
    let limited = Config { rates: Rates { dhcp: rate, tftp: rate }, ..config() };
    let mut kernel = Kernel::new(&limited, true);
    let rrq = udp((CLIENT, CLIENT_PORT), (OWN, 69), b"\0\x01pxelinux.0\0octet\0");
    let frames = [
        ("RRQ", rrq.clone()),
        ("DISCOVER of iPXE, relayed", udp((CLIENT, 67), (OWN, 67), &golden("ipxe-bios-discover"))),
        ("boot-server request of OVMF", udp((CLIENT, 4011), (OWN, 4011), &golden("ovmf-4011"))),
        ("ACK of a known transfer", udp((CLIENT, CLIENT_PORT), (OWN, TID), &[0, 4, 0, 1])),
        ("TCP", with(&rrq, 23, 6)),
    ];
    for (name, frame) in frames {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (config, times) in [config(), limited].iter().zip(&mut times) {
                kernel.programs.configure(config).unwrap();
                times.push(kernel.programs.test_run_time(&frame, RUNS).unwrap().as_nanos());
            }
        }
        let [without, with] = times.map(|mut times| {
            times.sort_unstable();
            times[ROUNDS / 2]
        });
        println!("{name}: {without} ns without limits, {with} ns with");
    }
}
