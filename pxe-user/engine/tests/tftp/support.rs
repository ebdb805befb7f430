//! A responder with files to serve, and a host that only records the calls.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;

use std::time::Duration;

use pxe_content::boot::{Catalogue, Config, FileName, Links, Source};
use pxe_content::rules::Policy;
use pxe_engine::counters::Counted;
use pxe_engine::responder::{
    Blocks, Events, KernelOffload, OffloadAnswer, OffloadProgress, OffloadRequest, Responder,
    ResponderSettings, Route, Sources, Storage, Transmit, UploadName, UploadPermit,
};
use pxe_fleet::event::{Event, Peer};
use pxe_proto::datagram::{Datagram, Link};
use pxe_proto::dhcp::{Arch, BootFile, BootService};
use pxe_proto::mac::Mac;
use pxe_proto::tftp::negotiation::OptionLimits;
use pxe_proto::tftp::receive_session::BlockAccepted;
use pxe_proto::tftp::send_session::TransferOutcome;
use pxe_proto::tftp::table::{Id, TidPorts};
use pxe_proto::time::Timestamp;
use tempfile::TempDir;

use crate::inbox::MemoryInbox;
use crate::offload::Kernel;

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 99), 2070);
pub(crate) const MAC: Mac = Mac([2, 0, 0, 0, 0, 0x99]);
pub(crate) const PORTS: TidPorts = TidPorts { first: 50_000, count: 16 };

pub(crate) fn ms(millis: u64) -> Timestamp {
    Timestamp::from_micros(millis * 1000)
}

/// The content of a file of this size. The pattern makes different blocks differ, at any block size.
pub(crate) fn content(size: usize) -> Vec<u8> {
    (0..size as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

pub(crate) fn rrq(name: &str, options: &[(&str, &str)]) -> Vec<u8> {
    let mut packet = [&[0, 1], name.as_bytes(), b"\0octet\0"].concat();
    for (name, value) in options {
        packet.extend([name.as_bytes(), &[0], value.as_bytes(), &[0]].concat());
    }
    packet
}

pub(crate) fn wrq(name: &str, options: &[(&str, &str)]) -> Vec<u8> {
    let mut packet = rrq(name, options);
    packet[1] = 2;
    packet
}

pub(crate) fn data(block: u16, bytes: &[u8]) -> Vec<u8> {
    [&[0, 3], &block.to_be_bytes()[..], bytes].concat()
}

pub(crate) fn ack(block: u16) -> Vec<u8> {
    [&[0, 4], &block.to_be_bytes()[..]].concat()
}

pub(crate) fn error(code: u16) -> Vec<u8> {
    [&[0, 5], &code.to_be_bytes()[..], b"text\0"].concat()
}

/// A sent packet in short form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Data(u16, usize),
    Oack(String),
    Ack(u16),
    Error(u16),
}

#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Timestamp,
    pub(crate) route: Route,
    pub(crate) payload: Vec<u8>,
}

impl Sent {
    pub(crate) fn said(&self) -> Said {
        let [_, opcode, a, b, rest @ ..] = &self.payload[..] else { panic!("{:?}", self.payload) };
        match opcode {
            3 => Said::Data(u16::from_be_bytes([*a, *b]), rest.len()),
            4 => Said::Ack(u16::from_be_bytes([*a, *b])),
            5 => Said::Error(u16::from_be_bytes([*a, *b])),
            6 => Said::Oack(String::from_utf8(self.payload[2..].to_vec()).unwrap().replace('\0', " ")),
            other => panic!("opcode {other}"),
        }
    }
}

/// A host that records all calls.
#[derive(Debug)]
pub(crate) struct Notes {
    pub(crate) now: Timestamp,
    pub(crate) sent: Vec<Sent>,
    pub(crate) opened: BTreeSet<(SocketAddrV4, u16)>,
    pub(crate) orders: Vec<(Id, FileName)>,
    pub(crate) events: Vec<Event>,
    /// How many DATA packets find room.
    pub(crate) room: u64,
    /// Whether [`Transmit::open`] succeeds.
    pub(crate) opens: bool,
    /// Whether [`Storage::load`] succeeds.
    pub(crate) loads: bool,
    /// The simulated kernel offload. `None` for a datapath without one.
    pub(crate) kernel: Option<Kernel>,
    /// The simulated inbox.
    pub(crate) inbox: MemoryInbox,
    /// The host's neighbour table.
    pub(crate) neighbours: BTreeMap<Ipv4Addr, Mac>,
}

impl Transmit for Notes {
    fn control(&mut self, route: &Route, payload: &[u8]) {
        self.sent.push(Sent { at: self.now, route: *route, payload: payload.to_vec() });
    }

    fn data(&mut self, route: &Route, blocks: &Blocks<'_>) -> u64 {
        let count = blocks.count.min(self.room);
        self.room -= count;
        for index in 0..count {
            let (header, range) = blocks.get(index);
            let payload = [&header[..], &blocks.image.bytes()[range]].concat();
            self.sent.push(Sent { at: self.now, route: *route, payload });
        }
        count
    }

    fn open(&mut self, client: SocketAddrV4, port: u16, _slot: u32) -> bool {
        if self.opens {
            assert!(self.opened.insert((client, port)), "opened twice");
        }
        self.opens
    }

    fn close(&mut self, client: SocketAddrV4, port: u16) {
        self.opened.remove(&(client, port));
    }

    fn neighbour(&mut self, address: Ipv4Addr) -> Option<Mac> {
        self.neighbours.get(&address).copied()
    }
}

impl Storage for Notes {
    fn load(&mut self, id: Id, name: &FileName, _peer: Peer, _server: Ipv4Addr) -> bool {
        if self.loads {
            self.orders.push((id, *name));
        }
        self.loads
    }

    fn put(&mut self, id: Id, permit: &UploadPermit, name: &UploadName, peer: Peer) -> bool {
        assert_eq!(peer.mac, MAC);
        self.inbox.put(id, permit, name)
    }

    fn store(&mut self, permit: &UploadPermit, bytes: &[u8], last: bool) -> BlockAccepted {
        self.inbox.store(permit, bytes, last)
    }
}

impl KernelOffload for Notes {
    fn offload(&mut self, offer: &OffloadRequest<'_>) -> OffloadAnswer {
        self.kernel.as_mut().map_or(OffloadAnswer::Never, |kernel| kernel.offload(offer))
    }

    fn offload_progress(&mut self, id: Id) -> Option<OffloadProgress> {
        self.kernel.as_ref()?.offload_progress(id)
    }

    fn reclaim(&mut self, id: Id) -> Option<OffloadProgress> {
        self.kernel.as_mut()?.reclaim(id)
    }
}

impl Events for Notes {
    fn record(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// The responder under test, with its host and files.
pub(crate) struct Lab {
    pub(crate) dir: TempDir,
    pub(crate) catalogue: Arc<Catalogue>,
    /// The data that the responder reads. Tests replace it while the responder runs.
    pub(crate) sources: Sources,
    pub(crate) responder: Responder,
    pub(crate) notes: Notes,
    /// If true, replies of the loader and the inbox come at once.
    pub(crate) loader_runs: bool,
}

/// The addresses of a DISCOVER: a machine without an address, and the broadcast address.
pub(crate) const DHCP_CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
pub(crate) const DHCP_SERVERS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);

/// A DHCP message that was recorded from real firmware.
pub(crate) fn packet(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/packets/dhcp/{name}.bin"));
    std::fs::read(path).expect("a golden packet")
}

/// The broadcast address: the subnet of [`SERVER`] is a /24.
pub(crate) const BROADCAST: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 0, 0, 255);

pub(crate) fn settings() -> ResponderSettings {
    ResponderSettings {
        interface: "lab0".into(),
        address: SERVER,
        mask: Ipv4Addr::new(255, 255, 255, 0),
        broadcast: BROADCAST,
        limits: OptionLimits::for_mtu(1500, 64),
        transfers: 8,
        ports: PORTS,
        sees_ethernet: true,
        foreign_chaddr: false,
        filters_requests: true,
        uploads: None,
    }
}

impl Lab {
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Self {
        Self::with(settings(), BootService::new(SERVER), files)
    }

    /// A lab that offers `file` to machines of this architecture.
    pub(crate) fn telling(arch: Arch) -> Self {
        let mut service = BootService::new(SERVER);
        service.programs.set(arch, BootFile::new("file").expect("valid").into());
        Self::with(settings(), service, &[("file", b"program")])
    }

    pub(crate) fn with(settings: ResponderSettings, service: BootService, files: &[(&str, &[u8])]) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("pxelinux.0"), b"boot").unwrap();
        for (name, bytes) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let source = Source::Tree { root: dir.path().into(), links: Links::FollowAdministrators };
        let memory = Some(64 << 20);
        let catalogue = Arc::new(Catalogue::open(Config { source, memory, ..Config::default() }).unwrap());
        let notes = Notes {
            now: ms(0),
            sent: Vec::new(),
            opened: BTreeSet::new(),
            orders: Vec::new(),
            events: Vec::new(),
            room: u64::MAX,
            opens: true,
            loads: true,
            kernel: None,
            inbox: MemoryInbox::default(),
            neighbours: BTreeMap::new(),
        };
        let sources = Sources::new(Policy::for_all(service), Arc::clone(&catalogue));
        let responder = Responder::new(settings, sources.clone());
        Self { dir, catalogue, sources, responder, notes, loader_runs: true }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.notes.now
    }

    /// Handles a datagram, and returns the packets sent at once. A DHCP message comes in a frame from its own
    /// machine.
    pub(crate) fn say_as(&mut self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<Sent> {
        let is_dhcp = matches!(to.port(), 67 | 4011);
        let requester = pxe_proto::dhcp::Request::parse(payload).ok().filter(|_| is_dhcp);
        let mac = requester.and_then(|request| request.mac()).unwrap_or(MAC);
        self.say_over(Link::untagged(mac), from, to, payload)
    }

    /// The same, in a frame over any link.
    pub(crate) fn say_over(
        &mut self,
        link: Link,
        from: SocketAddrV4,
        to: SocketAddrV4,
        payload: &[u8],
    ) -> Vec<Sent> {
        let now = self.notes.now;
        let datagram = Datagram { link, from, to, payload };
        self.responder.handle(now, &datagram, &mut self.notes);
        if self.loader_runs {
            self.load();
            self.file();
        }
        std::mem::take(&mut self.notes.sent)
    }

    /// Sends a payload from [`CLIENT`] to our address.
    pub(crate) fn say(&mut self, port: u16, payload: &[u8]) -> Vec<Said> {
        let sent = self.say_as(CLIENT, SocketAddrV4::new(SERVER, port), payload);
        sent.iter().map(Sent::said).collect()
    }

    /// Sends an RRQ from [`CLIENT`]. Returns our TID and the first reply.
    pub(crate) fn ask(&mut self, name: &str, options: &[(&str, &str)]) -> (u16, Said) {
        let sent = self.say_as(CLIENT, SocketAddrV4::new(SERVER, 69), &rrq(name, options));
        let [only] = &sent[..] else { panic!("{sent:?}") };
        (only.route.from.port(), only.said())
    }

    /// Replies to all requests for files as the loader.
    pub(crate) fn load(&mut self) {
        for (id, name) in std::mem::take(&mut self.notes.orders) {
            let file = self.catalogue.load(&name);
            self.responder.loaded(self.notes.now, id, &name, file, &mut self.notes);
        }
    }

    /// Delivers all replies of the inbox.
    pub(crate) fn file(&mut self) {
        while let Some((id, filed)) = self.notes.inbox.next_answer() {
            self.responder.on_inbox_reply(self.notes.now, id, filed, &mut self.notes);
        }
    }

    /// Lets time pass. Calls `poll` exactly at the responder's deadlines. Returns the packets that were sent.
    pub(crate) fn wait(&mut self, millis: u64) -> Vec<Sent> {
        let end = self.now() + Duration::from_millis(millis);
        while let Some(at) = self.responder.next_deadline().filter(|at| *at <= end) {
            self.notes.now = self.notes.now.max(at);
            self.responder.poll(self.notes.now, &mut self.notes);
        }
        self.notes.now = end;
        std::mem::take(&mut self.notes.sent)
    }

    pub(crate) fn count(&self, what: impl Into<Counted>) -> u64 {
        self.responder.counters().get(what)
    }

    /// The outcomes of transfers that were reported.
    pub(crate) fn outcomes(&self) -> Vec<TransferOutcome> {
        let ends = self.notes.events.iter().filter_map(|event| match event {
            Event::Fetched { outcome, .. } => Some(*outcome),
            _ => None,
        });
        ends.collect()
    }

    /// Says packets of any kind, each given by its port, the number of its sender, its payload and the
    /// milliseconds after it. None may cause more than `replies_max` packets, or one to anybody but its sender,
    /// and nothing may be left at the end.
    pub(crate) fn endure(&mut self, packets: Vec<(u16, u16, Vec<u8>, u64)>, replies_max: usize) {
        for (port, sender, payload, pause) in packets {
            let from = SocketAddrV4::new(*CLIENT.ip(), 2070 + sender);
            let sent = self.say_as(from, SocketAddrV4::new(SERVER, port), &payload);
            assert!(sent.len() <= replies_max, "{} packets in reply", sent.len());
            assert!(sent.iter().all(|sent| sent.route.to == from), "a reply to a stranger");
            self.wait(pause);
        }
        self.wait(200_000);
        self.assert_idle();
    }

    /// Asserts that no transfer, open port or timer is left.
    pub(crate) fn assert_idle(&self) {
        assert_eq!(self.responder.active(), 0);
        assert_eq!(self.notes.opened, BTreeSet::new());
        assert_eq!(self.responder.next_deadline(), None);
    }
}

/// The times at which packets were sent, in seconds after `since`.
pub(crate) fn seconds(sent: &[Sent], since: Timestamp) -> Vec<u64> {
    sent.iter().map(|sent| sent.at.since(since).as_secs()).collect()
}
