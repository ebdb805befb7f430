//! [`Responder`]: the fleet's thread, its directory and its ledger, as in the daemon. The events that its workers would
//! report come from here.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use pxe_content::boot::{Catalogue, Config, Image, Links, Source};
use pxe_fleet::event::{Event, OfferKind, Peer, Requester, Transport, brief};
use pxe_fleet::handle::{FleetHandle, Message};
use pxe_fleet::thread::{FleetConfig, FleetDeps, SPOOL_MAX, SharedLedger, spawn, wall_clock};
use pxe_kit::clock;
use pxe_ledger::postgres::{Target, Url};
use pxe_proto::dhcp::{Arch, Style};
use pxe_proto::mac::Mac;
use pxe_proto::tftp::send_session::TransferOutcome;
use pxe_proto::time::Timestamp;

/// The name of the file that machines boot: a usual one, so no rule has to name it.
const FILE: &str = "bootx64.efi";
/// Time between two attempts to report an event while the fleet's queue is full.
const FULL: Duration = Duration::from_millis(1);

/// One responder's fleet.
pub struct Responder {
    handle: FleetHandle,
    thread: JoinHandle<()>,
}

impl Responder {
    /// Starts a fleet with a directory of its own, and the ledger at `url`.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(name: &str, folder: &Path, url: &str) -> Result<Self> {
        let ledger = SharedLedger {
            target: Target::open(&Url::parse(url)?, None, None),
            responder: name.into(),
            host: name.into(),
            spool_max: SPOOL_MAX,
            about: Arc::default(),
        };
        let config =
            FleetConfig { state: Some(folder.join(name)), ledger: Some(ledger), ..FleetConfig::default() };
        let began = clock::now();
        let deps = FleetDeps {
            monotonic: Box::new(move || since(began)),
            wall: Box::new(wall_clock),
            neighbour: Box::new(|_| None),
            alive: Box::new(|| ()),
            store_alive: Box::new(|| ()),
        };
        let (handle, receiver) = FleetHandle::new();
        let thread = spawn(config, receiver, handle.clone(), deps)?;
        Ok(Self { handle, thread })
    }

    /// The fleet's handle.
    #[must_use]
    pub fn handle(&self) -> &FleetHandle {
        &self.handle
    }

    /// A machine asks, and is told what to boot.
    pub fn offer(&self, machine: u32) {
        let requester = Box::new(Requester {
            firmware: brief("PXEClient:Arch:00007:UNDI:003016"),
            address: Some(address(machine)),
            interface: "eth0".into(),
            ..Requester::new(mac(machine), Arch::X64)
        });
        let (what, file, style) = (OfferKind::Boot, brief(FILE), Style::Direct);
        self.report(Event::Offered { requester, what, file, style, ack: false });
    }

    /// A machine boots: an offer, and its file.
    pub fn boot(&self, machine: u32, image: &Arc<Image>) {
        self.offer(machine);
        let peer = Peer {
            address: SocketAddrV4::new(address(machine), 2070),
            mac: mac(machine),
            transport: Transport::Tftp,
        };
        let took = Duration::from_millis(100);
        let (image, bytes) = (Arc::clone(image), image.len());
        let outcome = TransferOutcome::Complete;
        self.report(Event::Fetched { peer, image, outcome, bytes, took, retransmits: 0 });
    }

    /// Reports an event. A worker would drop it while the fleet's queue is full; this waits instead.
    fn report(&self, event: Event) {
        while self.handle.record(event.clone()).is_err() {
            thread::sleep(FULL);
        }
    }

    /// Ends the fleet in order.
    ///
    /// # Errors
    /// If its thread panicked.
    pub fn stop(self) -> Result<()> {
        self.handle.send_blocking(Message::Stop).context("the fleet has ended")?;
        self.thread.join().map_err(|_| anyhow!("the fleet's thread panicked"))
    }
}

fn since(began: Instant) -> Timestamp {
    Timestamp::from_micros(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// The Ethernet address of a machine.
#[must_use]
pub fn mac(machine: u32) -> Mac {
    let [a, b, c, d] = machine.to_be_bytes();
    Mac([2, 0, a, b, c, d])
}

fn address(machine: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 1).to_bits().wrapping_add(machine))
}

/// The file that machines boot.
///
/// # Errors
/// If `folder` cannot be served.
pub fn image(folder: &Path) -> Result<Arc<Image>> {
    let root = folder.join("root");
    std::fs::create_dir(&root)?;
    std::fs::write(root.join(FILE), [0; 1000])?;
    let source = Source::Tree { root, links: Links::default() };
    let catalogue = Catalogue::open(Config { source, ..Config::default() })?;
    let name = FILE.parse().map_err(|_| anyhow!("{FILE} is no name"))?;
    catalogue.load(&name).map_err(|refusal| anyhow!("{FILE}: {refusal:?}"))
}
