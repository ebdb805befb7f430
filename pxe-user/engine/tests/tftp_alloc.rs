//! A running transfer allocates no memory: not for an ACK, a DATA packet, a time-out, or a packet from an
//! unknown source. A request in the queue allocates none either. This test has its own binary because it
//! replaces the global allocator.

use std::alloc::System;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use std::time::Duration;

use pxe_content::boot::{Catalogue, Config, FileName, Links, Source};
use pxe_content::rules::Policy;
use pxe_engine::counters::Counter;
use pxe_engine::responder::{
    Blocks, Events, KernelOffload, Responder, ResponderSettings, Route, Sources, Storage, Transmit,
};
use pxe_fleet::event::{Event, Peer};
use pxe_proto::datagram::{Datagram, Link};
use pxe_proto::dhcp::BootService;
use pxe_proto::tftp::negotiation::OptionLimits;
use pxe_proto::tftp::table::{Id, TidPorts};
use pxe_proto::time::Timestamp;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// A host that counts, and accepts one block only in every seventh call.
#[derive(Default)]
struct CountingHost {
    port: u16,
    data: u64,
    calls: u64,
}

impl Transmit for CountingHost {
    fn control(&mut self, route: &Route, _payload: &[u8]) {
        self.port = route.from.port();
    }

    fn data(&mut self, _route: &Route, blocks: &Blocks<'_>) -> u64 {
        self.calls += 1;
        let room = if self.calls.is_multiple_of(7) { 1 } else { u64::MAX };
        self.data += blocks.count.min(room);
        blocks.count.min(room)
    }

    fn open(&mut self, _client: SocketAddrV4, _port: u16, _slot: u32) -> bool {
        true
    }

    fn close(&mut self, _client: SocketAddrV4, _port: u16) {}
}

impl Storage for CountingHost {
    fn load(&mut self, _id: Id, _name: &FileName, _peer: Peer, _server: Ipv4Addr) -> bool {
        false
    }
}

impl KernelOffload for CountingHost {}

impl Events for CountingHost {
    fn record(&mut self, _event: Event) {}
}

fn responder(transfers: usize, catalogue: &Arc<Catalogue>) -> Responder {
    let settings = ResponderSettings {
        interface: "lab0".into(),
        address: SERVER,
        mask: Ipv4Addr::new(255, 255, 255, 0),
        broadcast: Ipv4Addr::BROADCAST,
        limits: OptionLimits::for_mtu(1500, 64),
        transfers,
        ports: TidPorts { first: 50_000, count: 16 },
        sees_ethernet: true,
        foreign_chaddr: false,
        filters_requests: true,
        uploads: None,
    };
    let policy = Policy::for_all(BootService::new(SERVER));
    Responder::new(settings, Sources::new(policy, Arc::clone(catalogue)))
}

/// Checks the memory for each slot of the table. The table has two slots for each transfer.
fn assert_slots_are_small(catalogue: &Arc<Catalogue>) {
    let bytes = |transfers: usize| {
        let region = Region::new(ALLOCATOR);
        let _responder = responder(transfers, catalogue);
        region.change().bytes_allocated
    };
    // 4096 transfers are the default. For twice as many, the queue of requests does not grow, so the
    // difference is memory of slots and backlog only.
    let each = (bytes(8192) - bytes(4096)) / 8192;
    assert!((150..=256).contains(&each), "{each} bytes for each slot");
}

#[test]
fn a_transfer_under_way_allocates_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("pxelinux.0"), vec![7; 1_000_000]).expect("a file");
    let source = Source::Tree { root: dir.path().into(), links: Links::FollowAdministrators };
    let memory = Some(8 << 20);
    let config = Config { source, memory, ..Config::default() };
    let catalogue = Arc::new(Catalogue::open(config).expect("a catalogue"));
    catalogue.load(&"pxelinux.0".parse().expect("valid")).expect("the file");
    assert_slots_are_small(&catalogue);
    let mut responder = responder(64, &catalogue);
    let mut host = CountingHost::default();
    let client = |n: u16| SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 99), 2000 + n);
    let say = |responder: &mut Responder, host: &mut CountingHost, now, n, port, payload: &[u8]| {
        let to = SocketAddrV4::new(SERVER, port);
        let datagram = Datagram { link: Link::default(), from: client(n), to, payload };
        responder.handle(Timestamp::from_micros(now), &datagram, host);
    };
    let mut ports = Vec::new();
    for n in 0..50 {
        say(
            &mut responder,
            &mut host,
            0,
            n,
            69,
            b"\0\x01pxelinux.0\0octet\0blksize\x001400\0windowsize\x004\0",
        );
        ports.push(host.port);
    }

    let region = Region::new(ALLOCATOR);
    let mut now = 0;
    for round in 0..=180u16 {
        now += 3000;
        for (n, port) in (0..).zip(&ports) {
            // Duplicate ACKs, ACKs of old blocks and of blocks not sent yet, and packets from unknown
            // sources.
            let block = (round * 4).min(715);
            for block in [block, block, block + 30_000, block.saturating_sub(8)] {
                say(&mut responder, &mut host, now, n, *port, &[0, 4, (block >> 8) as u8, block as u8]);
            }
            say(&mut responder, &mut host, now, n + 1000, *port, &[0, 4, 0, 1]);
        }
        // There is room for a part of the blocks only. The backlog tries again every millisecond.
        let (at, end) = (Timestamp::from_micros(now), Timestamp::from_micros(now + 100_000));
        while let Some(deadline) = responder.next_deadline().filter(|deadline| *deadline <= end) {
            responder.poll(deadline.max(at), &mut host);
        }
        now += 100_000;
        if round % 50 == 49 {
            // No client sends anything for a while.
            for _ in 0..5 {
                now += Duration::from_secs(1).as_micros() as u64;
                responder.poll(Timestamp::from_micros(now), &mut host);
            }
        }
    }
    for _ in 0..20 {
        now += 1_000_000;
        responder.poll(Timestamp::from_micros(now), &mut host);
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));
    assert_eq!(responder.counters().get(Counter::Complete), 50);
    assert_eq!(responder.active(), 0);
    assert!(responder.counters().get(Counter::Timeouts) >= 50);
    assert!(host.data >= 50 * 715);

    // Requests in the queue allocate nothing either. There are many more requests than places, and most are
    // never repeated.
    let request = b"\0\x01pxelinux.0\0octet\0blksize\x001400\0";
    let region = Region::new(ALLOCATOR);
    for n in 0..20_000 {
        now += 1000;
        say(&mut responder, &mut host, now, n, 69, request);
        if n % 3 == 0 {
            say(&mut responder, &mut host, now, n.saturating_sub(300), 69, request);
        }
        responder.poll(Timestamp::from_micros(now), &mut host);
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));
    let counters = responder.counters();
    for what in [Counter::AdmittedLate, Counter::RefusedLate, Counter::Forgotten, Counter::GaveWay] {
        assert!(counters.get(what) > 0, "{what:?}");
    }
}
