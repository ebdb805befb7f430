//! A responder in virtual time, with a host that checks everything that the responder does.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use pxe_common::abi::Transfer;
use pxe_common::steady;
use pxe_content::boot::{Catalogue, Config, FileName, Image, Links, Source};
use pxe_content::rules::Policy;
use pxe_engine::responder::{
    Blocks, Events, KernelOffload, OffloadAnswer, OffloadProgress, OffloadRequest, Responder,
    ResponderSettings, Route, Sources, Storage, Transmit, UploadLimiter, UploadName, UploadPermit,
};
use pxe_fleet::event::{Event, Peer};
use pxe_proto::datagram::{Datagram, Link};
use pxe_proto::dhcp::BootService;
use pxe_proto::mac::Mac;
use pxe_proto::tftp::Block;
use pxe_proto::tftp::negotiation::OptionLimits;
use pxe_proto::tftp::packet::{CONTROL_MAX, Packet, data_header};
use pxe_proto::tftp::receive_session::BlockAccepted;
use pxe_proto::tftp::table::{Id, TidPorts};
use pxe_proto::time::Timestamp;
use tempfile::TempDir;

use super::uploads::Inbox;
use crate::frames::OWN;

/// The maximum window, in blocks.
pub(super) const WINDOW: u64 = 4;
/// The number of slots: fewer than clients, so that some requests wait.
const TRANSFERS: usize = 3;
/// The range of the responder's TIDs.
pub(super) const PORTS: TidPorts = TidPorts { first: 50_000, count: 16 };
/// The maximum of control packets to a client for one event: one for the old transfer, and one for the new one.
const CONTROLS_MAX: u64 = 2;

/// The served files: an empty one, one shorter than any block, one of whole blocks of most sizes, and one of many blocks.
pub(super) static IMAGES: LazyLock<[Arc<Image>; 4]> = LazyLock::new(|| {
    [0, 7, 4096, 20_001].map(|size| {
        let (_folder, catalogue) = catalogue(&content(size));
        catalogue.load(&"pxelinux.0".parse().expect("a name")).expect("the file")
    })
});

/// A catalogue without loaded files, so that the responder must ask the loader for each file.
static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| Arc::new(catalogue(b"").1));

/// A catalogue with one boot program, and its folder.
fn catalogue(bytes: &[u8]) -> (TempDir, Catalogue) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("pxelinux.0"), bytes).expect("a boot program");
    let source = Source::Tree { root: folder.path().into(), links: Links::FollowAdministrators };
    let catalogue = Catalogue::open(Config { source, ..Config::default() }).expect("a catalogue");
    (folder, catalogue)
}

fn content(size: usize) -> Vec<u8> {
    (0..size as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// The address of a client. There are few addresses, each with two ports.
pub(super) fn client(number: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 100 + number % 5), 2070 + u16::from(number / 5 % 2))
}

/// The responder and its host. The host has the clock.
pub(super) struct World {
    pub(super) responder: Responder,
    pub(super) host: Watcher,
    pub(super) places: UploadLimiter,
}

impl World {
    pub(super) fn new() -> Self {
        let places = UploadLimiter::new(2);
        let settings = ResponderSettings {
            interface: "fuzz0".into(),
            address: OWN,
            mask: Ipv4Addr::new(255, 255, 255, 0),
            broadcast: Ipv4Addr::new(10, 99, 0, 255),
            limits: OptionLimits::for_mtu(1500, WINDOW as u16),
            transfers: TRANSFERS,
            ports: PORTS,
            sees_ethernet: true,
            foreign_chaddr: false,
            filters_requests: false,
            uploads: Some(places.clone()),
        };
        let sources = Sources::new(Policy::for_all(BootService::new(OWN)), Arc::clone(&CATALOGUE));
        Self { responder: Responder::new(settings, sources), host: Watcher::new(), places }
    }

    /// A datagram arrives at the simulated kernel program. If that does not answer it, the responder handles it.
    pub(super) fn say(&mut self, from: SocketAddrV4, port: u16, payload: &[u8]) {
        let to = SocketAddrV4::new(OWN, port);
        self.host.hear(from, port, payload);
        self.event(|responder, host| {
            if !host.kernel_answers(from, port, payload) {
                let link = Link::untagged(Mac([2, 0, 0, 0, 0, from.ip().octets()[3]]));
                responder.handle(host.now, &Datagram { link, from, to, payload }, host);
            }
        });
    }

    /// Runs an event, and checks that the responder sends and holds only a bounded amount.
    pub(super) fn event(&mut self, happens: impl FnOnce(&mut Responder, &mut Watcher)) {
        self.host.sent.clear();
        happens(&mut self.responder, &mut self.host);
        for (to, sent) in &self.host.sent {
            assert!(sent.controls <= CONTROLS_MAX, "{} small packets to {to} at once", sent.controls);
            // The rest of a window for which there is room again, and the same window again after a time-out.
            assert!(sent.blocks <= 2 * WINDOW, "{} blocks to {to} at once", sent.blocks);
        }
        assert!(self.responder.active() <= TRANSFERS);
        assert!(self.host.open.len() <= 2 * TRANSFERS, "ended transfers were not closed");
    }

    /// Lets time pass, and polls the responder exactly at its deadlines.
    pub(super) fn wait(&mut self, time: Duration) {
        let end = self.host.now + time;
        let mut rings = 0;
        while let Some(at) = self.responder.next_deadline().filter(|at| *at <= end) {
            self.host.now = self.host.now.max(at);
            self.event(|responder, host| responder.poll(host.now, host));
            rings += 1;
            assert!(rings < 100_000, "a timer expires without end");
        }
        self.host.now = end;
    }

    /// Lets time pass without packets. Then all transfers must have ended, and all state must be freed.
    pub(super) fn settle(&mut self) {
        // The longest life of any state: three time-outs of the 255 s that a client may request (RFC 2349), before and
        // after its end, for two requests that wait for the same slot.
        const LONGEST: Duration = Duration::from_secs(4000);
        self.host.room = u64::MAX;
        self.wait(LONGEST);
        assert_eq!(self.responder.next_deadline(), None, "a timer is still set");
        assert_eq!((self.responder.active(), self.responder.pending()), (0, 0), "a slot was not freed");
        assert!(self.host.open.is_empty(), "the kernel still knows {:?}", self.host.open.keys());
    }
}

/// A transfer that the kernel has.
struct Carried {
    slot: u32,
    transfer: Transfer,
    image: Arc<Image>,
    blksize: u16,
}

/// The packets to one address in one event.
#[derive(Default)]
struct Sent {
    controls: u64,
    blocks: u64,
}

/// An open pair of TIDs.
#[derive(Default)]
pub(super) struct Session {
    slot: u32,
    /// The highest block that was sent.
    pub(super) highest: u64,
    acknowledged: u64,
}

impl Session {
    /// The slot of the transfer.
    pub(super) fn slot(&self) -> u32 {
        self.slot
    }
}

/// The host. It records the clients' ACKs, and checks everything that the responder sends.
pub(super) struct Watcher {
    pub(super) now: Timestamp,
    /// The number of DATA packets that can still be sent.
    pub(super) room: u64,
    /// Whether opening a transfer, asking the loader, and offloading a transfer succeed.
    pub(super) opens: bool,
    pub(super) loads: bool,
    pub(super) carries: bool,
    pub(super) open: BTreeMap<(SocketAddrV4, u16), Session>,
    /// The requests to the loader.
    pub(super) orders: VecDeque<Id>,
    pub(super) inbox: Inbox,
    sent: BTreeMap<SocketAddrV4, Sent>,
    /// What the kernel can send, and its words by slot.
    carried: BTreeMap<(SocketAddrV4, u16), Carried>,
    words: BTreeMap<u32, (u64, Timestamp)>,
}

impl Watcher {
    fn new() -> Self {
        Self {
            now: Timestamp::default(),
            room: u64::MAX,
            opens: true,
            loads: true,
            carries: false,
            open: BTreeMap::new(),
            orders: VecDeque::new(),
            inbox: Inbox::default(),
            sent: BTreeMap::new(),
            carried: BTreeMap::new(),
            words: BTreeMap::new(),
        }
    }

    /// The responder's highest TID for a client.
    pub(super) fn tid_of(&self, client: SocketAddrV4) -> Option<u16> {
        self.open.keys().rfind(|(known, _)| *known == client).map(|(_, port)| *port)
    }

    /// Records an ACK of a client for a block that was sent.
    fn hear(&mut self, from: SocketAddrV4, port: u16, payload: &[u8]) {
        if let (Ok(Packet::Ack(block)), Some(session)) =
            (Packet::parse(payload), self.open.get_mut(&(from, port)))
            && u64::from(block) <= session.highest
        {
            session.acknowledged = session.acknowledged.max(block.into());
        }
    }

    /// Simulates the kernel's offload, as in `pxe-ebpf/src/offload`, without frames.
    fn kernel_answers(&mut self, from: SocketAddrV4, port: u16, payload: &[u8]) -> bool {
        let ([0, 4, high, low], Some(Carried { slot, transfer, image, blksize })) =
            (payload, self.carried.get(&(from, port)))
        else {
            return false;
        };
        let Some((word, heard)) = self.words.get_mut(slot) else { return false };
        let Some(window) = steady::next(*word, transfer, u16::from_be_bytes([*high, *low])) else {
            return false;
        };
        (*word, *heard) = (window.word, self.now);
        let (image, first, blksize) = (Arc::clone(image), Block(window.first.into()), *blksize);
        self.look_at_blocks(
            from,
            port,
            &Blocks { image: &image, blksize, first, count: window.count.into() },
        );
        true
    }

    /// Checks that blocks are those of a served file, in order, and at most a window ahead of the last ACK.
    fn look_at_blocks(&mut self, to: SocketAddrV4, port: u16, blocks: &Blocks<'_>) {
        let Blocks { image, blksize, first, count } = *blocks;
        assert!(IMAGES.iter().any(|served| Arc::ptr_eq(served, image)));
        let size = u64::from(blksize);
        let last = image.len() / size + 1;
        for index in 0..count {
            let number = first.0 + index;
            assert!((1..=last).contains(&number), "block {number} of {last}");
            let (header, range) = blocks.get(index);
            assert_eq!(header, data_header(Block(number)));
            let start = (number - 1) * size;
            assert_eq!(range, start as usize..(start + size).min(image.len()) as usize);
        }
        let session = self.open.get_mut(&(to, port)).expect("DATA goes only to open transfers");
        let highest = first.0 + count - 1;
        assert!(
            highest <= session.acknowledged + WINDOW,
            "block {highest}, {} acknowledged",
            session.acknowledged
        );
        session.highest = session.highest.max(highest);
        self.sent.entry(to).or_default().blocks += count;
    }
}

/// Whether an address may be a client's: no group, not the responder itself, and no port of a server, which would answer.
fn is_client(address: SocketAddrV4) -> bool {
    let first = address.ip().octets()[0];
    let host = !matches!(first, 0 | 127 | 224..) && *address.ip() != OWN && address.ip().octets()[3] != 255;
    host && !matches!(address.port(), 0 | 67 | 69 | 4011)
}

impl Transmit for Watcher {
    fn control(&mut self, route: &Route, payload: &[u8]) {
        assert_eq!(*route.from.ip(), OWN);
        if !PORTS.contains(route.from.port()) {
            return assert!(matches!(route.from.port(), 67 | 4011), "from port {}", route.from.port());
        }
        assert!(is_client(route.to), "an answer to {}", route.to);
        assert!(payload.len() <= CONTROL_MAX);
        match Packet::parse(payload) {
            Ok(Packet::FromServer | Packet::Error(_)) => {}
            Ok(Packet::Ack(block)) => {
                let session = &self.open[&(route.to, route.from.port())];
                self.inbox.acknowledged(session.slot, block);
            }
            other => panic!("{other:?} was sent"),
        }
        self.sent.entry(route.to).or_default().controls += 1;
    }

    fn data(&mut self, route: &Route, blocks: &Blocks<'_>) -> u64 {
        let count = blocks.count.min(self.room);
        self.room -= count;
        if count > 0 {
            self.look_at_blocks(route.to, route.from.port(), &Blocks { count, ..*blocks });
        }
        count
    }

    fn open(&mut self, client: SocketAddrV4, port: u16, slot: u32) -> bool {
        if self.opens {
            let known = self.open.insert((client, port), Session { slot, ..Session::default() });
            assert!(known.is_none(), "opened twice");
        }
        self.opens
    }

    fn close(&mut self, client: SocketAddrV4, port: u16) {
        // The transfer may not be open, if there was no slot or no file.
        self.open.remove(&(client, port));
        self.carried.remove(&(client, port));
    }
}

impl Storage for Watcher {
    fn load(&mut self, id: Id, _name: &FileName, _peer: Peer, _server: Ipv4Addr) -> bool {
        if self.loads {
            self.orders.push_back(id);
        }
        self.loads
    }

    fn put(&mut self, id: Id, ticket: &UploadPermit, name: &UploadName, _peer: Peer) -> bool {
        self.inbox.put(id, ticket, name)
    }

    fn store(&mut self, ticket: &UploadPermit, bytes: &[u8], last: bool) -> BlockAccepted {
        self.inbox.store(ticket, bytes, last)
    }
}

impl KernelOffload for Watcher {
    fn offload(&mut self, offer: &OffloadRequest<'_>) -> OffloadAnswer {
        if !self.carries {
            return OffloadAnswer::NotYet;
        }
        let (slot, generation) = (offer.id.slot(), offer.id.generation());
        let number = |block: Block| u32::try_from(block.0).expect("files are small here");
        let (last, windowsize) = (number(offer.steady.last), u32::from(offer.steady.windowsize));
        let transfer = Transfer { generation, file: 0, last, windowsize };
        let file = Carried { slot, transfer, image: Arc::clone(offer.image), blksize: offer.blksize };
        self.carried.insert((offer.client, offer.port), file);
        self.words.insert(slot, (steady::word(generation, number(offer.steady.sent)), Timestamp::default()));
        OffloadAnswer::Accepted
    }

    fn offload_progress(&mut self, id: Id) -> Option<OffloadProgress> {
        let (word, heard) = *self.words.get(&id.slot())?;
        Some(OffloadProgress { sent: Block(steady::sent(word, id.generation())?.into()), heard })
    }

    fn reclaim(&mut self, id: Id) -> Option<OffloadProgress> {
        let carried = self.offload_progress(id);
        self.words.remove(&id.slot());
        carried
    }
}

impl Events for Watcher {
    fn record(&mut self, _event: Event) {}
}
