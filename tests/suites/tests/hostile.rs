//! Hostile traffic against the running daemon: floods of forged requests over each datapath, and rate limits that
//! change while the daemon runs.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pxe_kit::daemon::Daemon;
use pxe_kit::{Lab, clock, namespace, tree};
use pxe_nic::packet::PacketSocket;
use pxe_properties::frames;
use pxe_proto::datagram::{Link, write_frame};
use pxe_proto::mac::Mac;
use pxe_tests::machine;

/// The requests of a flood in a second, and in total.
const RATE: u64 = 1500;
const REQUESTS: u64 = 18_000;
/// The default number of slots.
const TRANSFERS: u64 = 4096;

/// The addresses in the lab that a flood needs.
struct Target {
    namespace: String,
    interface: u32,
    server: (Ipv4Addr, Mac),
    own: Mac,
}

impl Target {
    fn of(lab: &Lab) -> Self {
        let (client, server) = (lab.client(), lab.responder());
        let index =
            client.output("cat", &[&format!("/sys/class/net/{}/ifindex", client.interface())]).unwrap();
        Self {
            namespace: client.namespace().to_owned(),
            interface: index.trim().parse().unwrap(),
            server: (server.address().parse().unwrap(), server.mac().parse().unwrap()),
            own: client.mac().parse().unwrap(),
        }
    }

    /// Sends `count` frames at a steady pace.
    fn flood(&self, count: u64, frame: impl Fn(&Self, u64) -> Vec<u8>) {
        namespace::enter(&self.namespace).unwrap();
        let socket = PacketSocket::open(self.interface, 9).unwrap();
        let start = clock::now();
        for n in 0..count {
            let due = Duration::from_micros(n * 1_000_000 / RATE);
            thread::sleep(due.saturating_sub(start.elapsed()));
            socket.send(&frame(self, n));
        }
    }

    /// A request for a file from the address of a machine that does not exist.
    fn request(&self, n: u64) -> Vec<u8> {
        let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let from =
            (Ipv4Addr::new(10, 99, 0, 120 + (mixed >> 56) as u8 % 100), 1024 + (mixed >> 40) as u16 % 50_000);
        self.frame(from, b"\0\x01small\0octet\0blksize\x001468\0windowsize\x0064\0")
    }

    fn frame(&self, from: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 1500];
        let link = Link::untagged(self.server.1);
        let (from, to) = (SocketAddrV4::new(from.0, from.1), SocketAddrV4::new(self.server.0, 69));
        let len = write_frame(&mut frame, self.own, &link, from, to, &[], payload);
        frame.truncate(len);
        frame
    }
}

/// The resident memory of a process, in KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Loads the file as EDK2 does, and compares it.
fn honest(namespace: &str, server: Ipv4Addr, file: &[u8]) {
    namespace::enter(namespace).unwrap();
    let got = machine::load(server, "small").unwrap_or_else(|error| panic!("{error:#}"));
    assert!(got == file, "{} bytes of {}", got.len(), file.len());
}

/// The numbers of running transfers and of waiting requests.
fn load(daemon: &Daemon) -> [u64; 2] {
    let summary = daemon.summary().unwrap();
    let number =
        |name: &str| summary["interfaces"][0][name].as_u64().unwrap_or_else(|| panic!("{name}: {summary}"));
    ["transfers", "waiting"].map(number)
}

/// A flood of forged requests cannot use more than the slots and the waiting room, does not make the daemon's memory
/// grow, and does not keep machines from booting. Both datapaths run at once, each in its own lab.
#[test]
fn a_flood_of_forged_requests_holds_nothing_and_keeps_nobody_out() {
    let file = tree::bytes(100_000);
    thread::scope(|scope| {
        let threads = ["xdp", "socket"].map(|datapath| {
            let file = &file;
            scope.spawn(move || flooded_twice(datapath, file))
        });
        for thread in threads {
            thread.join().expect("the error is printed above");
        }
    });
}

fn flooded_twice(datapath: &str, file: &[u8]) {
    let lab = Lab::builder().start().unwrap();
    let root = tree::with_files(lab.folder(), &[("small", file.to_vec())]).unwrap();
    let arguments = ["--root", root.to_str().unwrap(), "--boot-file", "x64=small", "--datapath", datapath];
    let daemon = Daemon::start(&lab, &arguments).unwrap();
    let target = Target::of(&lab);
    let mut memory = Vec::new();
    for _ in 0..2 {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                target.flood(REQUESTS, Target::request);
                over.store(true, Ordering::Relaxed);
            });
            // Machines boot during the flood.
            let mut machines = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let load = load(&daemon);
                assert!(load.iter().all(|number| *number <= TRANSFERS), "{datapath}: {load:?}");
                machines.push(scope.spawn(|| honest(&target.namespace, target.server.0, file)));
                thread::sleep(Duration::from_millis(700));
            }
            assert!(machines.len() >= 8, "{datapath}: only {} machines booted in the flood", machines.len());
            for machine in machines {
                machine
                    .join()
                    .unwrap_or_else(|_| panic!("{datapath}: a machine did not boot\n{}", last(&daemon)));
            }
        });
        memory.push(resident(daemon.pid()));
    }
    println!("{datapath}: resident after each flood: {memory:?} KiB");
    // The second flood reuses the memory that the first one allocated.
    assert!(memory[1] <= memory[0] + 4096, "{datapath}: {memory:?} KiB");
    let log = daemon.stop().unwrap();
    assert!(Daemon::count(&log, "tftp_complete") >= 16, "{datapath}: {}", last_line(&log));
    assert!(log.lines().count() < 100_000, "{datapath}: {} lines", log.lines().count());
}

fn last_line(log: &str) -> &str {
    log.lines().rev().find(|line| line.contains("counted: ")).unwrap_or(log)
}

fn last(daemon: &Daemon) -> String {
    let log = daemon.log();
    log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
}

/// A machine that exceeds its rate gets no answers, over each datapath, and its requests are counted. Other machines
/// are served.
#[test]
fn who_asks_too_often_gets_silence_over_each_datapath() {
    let file = tree::bytes(3000);
    for (datapath, dhcp, tftp) in
        [("xdp", "pass_dhcp_rate", "drop_tftp_rate"), ("socket", "over_rate", "tftp_over_rate")]
    {
        let lab = Lab::builder().dhcp(false).start().unwrap();
        let root = tree::with_files(lab.folder(), &[("small", file.clone())]).unwrap();
        let config = lab.folder().join("pxed.toml");
        let text = |limits: &str| {
            format!("root = {root:?}\nboot_files = {{ x64 = \"small\" }}\n[limits]\n{limits}\n")
        };
        fs::write(&config, text("dhcp_rate = 1\ndhcp_burst = 5\ntftp_rate = 1\ntftp_burst = 5")).unwrap();
        let arguments = ["--config", config.to_str().unwrap(), "--datapath", datapath];
        let daemon = Daemon::start(&lab, &arguments).unwrap();
        let target = Target::of(&lab);
        let noisy = Ipv4Addr::new(10, 99, 0, 77);
        let ask = |count| {
            thread::scope(|scope| {
                let flood = scope.spawn(|| {
                    target.flood(count, |target, n| {
                        target.frame((noisy, 2000 + n as u16), b"\0\x01nowhere\0octet\0")
                    });
                    target.flood(count, |_, _| frames::broadcast_67(&frames::golden("ovmf-discover")));
                });
                flood.join().unwrap();
            });
        };
        ask(500);
        // Another machine is not affected.
        thread::scope(|scope| {
            scope.spawn(|| honest(&target.namespace, target.server.0, &file)).join().unwrap();
        });
        // The limits can be removed while the daemon runs.
        let new = config.with_extension("new");
        fs::write(&new, text("dhcp_rate = 0\ntftp_rate = 0")).unwrap();
        fs::rename(&new, &config).unwrap();
        daemon.wait_events("reloaded", 1).unwrap();
        ask(300);
        let log = daemon.stop().unwrap();
        let count = |label| Daemon::count(&log, label);
        for (label, served) in [(dhcp, count("dhcp_offers")), (tftp, count("not_found"))] {
            let refused = count(label);
            // The bucket may have got a token or two meanwhile, and some frames may be lost.
            assert!((480..=495).contains(&refused), "{datapath}: {label} {refused}\n{}", last_line(&log));
            assert!(
                (300..=320).contains(&served),
                "{datapath}: {label}: {served} served\n{}",
                last_line(&log)
            );
        }
    }
}
