//! Sets everything up, watches over it, and takes it down.
//!
//! Whatever fails while setting up leaves nothing behind: each part gives back what it holds when it is dropped, and
//! the kernel does the same if the process dies.

mod confined;
mod gauge_collector;
mod handover;
mod open_interface;
pub mod preconditions;
mod refusal_notice;
mod reload;
mod served_interface;
mod supervise;
mod watchdog;
mod web;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail};

use crate::config::{self, FleetSettings, Http};
use crate::confine::{Account, Confinement};
use pxe_content::boot::Catalogue;
use pxe_engine::clock::Clock;
use pxe_engine::heartbeat::{Heartbeats, Waits};
use pxe_engine::plan::{DatapathChoice, ModeChoice, OffloadChoice, Plan};
use pxe_engine::responder::TransferSnapshot;
use pxe_engine::worker::loader;
use pxe_engine::worker::queues::LoaderQueue;
use pxe_engine::worker::upload_writer::Uploads;
use pxe_fleet::handle::{FleetHandle, Message};
use pxe_fleet::thread::{self, FleetConfig, FleetDeps, wall_clock};
use pxe_nic::neighbours;
use pxe_proto::mac::Mac;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use gauge_collector::GaugeCollector;
pub use handover::StoredHandover;
use handover::{HandoverState, InterfaceState, Predecessor, Requester};
use open_interface::{OpenInterface, PreparedInterface};
use reload::LiveConfig;
pub use reload::{ConfigReader, Setup};
use served_interface::ServedInterface;
use web::Web;

/// What to serve where: what holds as long as the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The interfaces, by name.
    pub interfaces: Vec<String>,
    /// The address to serve from, if not each interface's first.
    pub address: Option<Ipv4Addr>,
    /// The datapath.
    pub datapath: DatapathChoice,
    /// The XDP mode.
    pub mode: ModeChoice,
    /// Whether the kernel may answer by itself.
    pub offload: OffloadChoice,
    /// Memory for files that the kernel sends, in bytes.
    pub offload_memory: u64,
    /// Most transfers at a time.
    pub transfers: usize,
    /// Most blocks in a window.
    pub windowsize: u16,
    /// Whether machines are served whose frames have another source than their requests say.
    pub foreign_chaddr: bool,
    /// Where what is known of machines is kept; without it, it goes with the daemon.
    pub state: Option<PathBuf>,
    /// Where the API is reached on this host; without a wish the usual place, if it is free.
    pub socket: Option<PathBuf>,
    /// The web page.
    pub board: Option<config::Board>,
    /// Where machines may put files.
    pub inbox: Option<config::InboxSettings>,
    /// Who the daemon becomes, if root has started it.
    pub user: Option<String>,
    /// Whether it gives its rights up.
    pub confinement: Confinement,
    /// Whether it goes on with the work of a daemon that serves these interfaces now.
    pub take_over: bool,
}

impl Options {
    /// The plan for each interface.
    ///
    /// # Errors
    /// The first interface that cannot be served, with the remedy.
    pub fn plans(&self) -> Result<Vec<Plan>> {
        self.interfaces.iter().map(|name| Ok(preconditions::plan(self, name)?)).collect()
    }

    /// The keys that are others there.
    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let differ = [
            ("interfaces", self.interfaces != other.interfaces),
            ("address", self.address != other.address),
            ("datapath", self.datapath != other.datapath),
            ("xdp_mode", self.mode != other.mode),
            ("offload", self.offload != other.offload),
            ("offload_memory_mib", self.offload_memory != other.offload_memory),
            ("transfers", self.transfers != other.transfers),
            ("windowsize", self.windowsize != other.windowsize),
            ("foreign_chaddr", self.foreign_chaddr != other.foreign_chaddr),
            ("state", self.state != other.state),
            ("socket", self.socket != other.socket),
            ("board", self.board != other.board),
            ("inbox", self.inbox != other.inbox),
            ("user", self.user != other.user),
            ("confinement", self.confinement != other.confinement),
        ];
        differ.into_iter().filter(|(_, differ)| *differ).map(|(name, _)| name).collect()
    }
}

/// Why a daemon ends.
enum End {
    /// It was told to.
    Stop,
    /// Another one goes on with its work, now or after a restart.
    HandOver(Requester),
}

/// Everything that runs.
pub struct Server {
    served: Vec<ServedInterface>,
    loader: Option<JoinHandle<()>>,
    orders: Arc<LoaderQueue>,
    fleet: FleetHandle,
    keeper: Option<JoinHandle<()>>,
    web: Option<Web>,
    uploads: Option<Uploads>,
    gauges: GaugeCollector,
    live: Arc<LiveConfig>,
    clock: Clock,
    heartbeats: Heartbeats,
}

impl Server {
    /// Starts serving; `reader` is asked for what has changed. Goes on with what the service manager has `kept`.
    ///
    /// # Errors
    /// What is in the way, with the remedy; nothing stays attached or open.
    pub fn start(
        options: &Options,
        setup: Setup,
        reader: ConfigReader,
        kept: Option<StoredHandover>,
    ) -> Result<Self> {
        raise_descriptor_limit();
        check_descriptors(options)?;
        let catalogue = Catalogue::open(setup.files.clone())?;
        for missing in catalogue.missing() {
            tracing::warn!("{missing}");
        }
        let orders =
            Arc::new(LoaderQueue::new(options.transfers.max(1024)).context("cannot make an eventfd")?);
        let clock = Clock::start();
        let prepare = |plan: Plan| {
            let name = plan.interface.name.clone();
            PreparedInterface::new(plan, options).with_context(|| format!("cannot serve {name}"))
        };
        let prepared = options.plans()?.into_iter().map(prepare).collect::<Result<Vec<_>>>()?;
        // What would be in the way later is said before a predecessor ends.
        Account::find(options.user.as_deref())?;
        // From here until the workers run, nobody answers.
        let Predecessor { mut handover, refused } = handover::find(options, kept, &catalogue)?;
        // The sockets first: an address that is taken should be said before anything is attached or opened.
        let mut listeners = web::WebListeners::open(options)?;
        let (opened, snapshots) =
            open(prepared, options, setup.offering.http, &mut listeners, &mut handover)?;
        // From here on with the least rights, and not before here with a second thread.
        confined::enter(options, &setup, reader.file.as_deref(), &catalogue, &opened)?;
        let heartbeats = Heartbeats::default();
        let (fleet, keeper) = keep(options, &setup.fleet, clock, &heartbeats)?;
        let gauges = GaugeCollector { hand_over_refused: refused, ..GaugeCollector::default() };
        let mut live = LiveConfig::new(options.clone(), setup, catalogue, reader);
        let uploads = listeners.inbox.clone().map(|inbox| {
            let alive = beats(&heartbeats, "pxed-inbox", Waits::ForDisks, clock);
            Uploads::start(inbox, options.transfers, fleet.clone(), alive).context("cannot start a thread")
        });
        let uploads = uploads.transpose()?;
        let mut served = Vec::new();
        for (one, snapshots) in opened.into_iter().zip(snapshots) {
            let shared = served_interface::Shared {
                options,
                live: &live,
                orders: &orders,
                uploads: uploads.as_ref(),
                fleet: &fleet,
                clock,
                heartbeats: &heartbeats,
            };
            let name = one.plan.interface.name.clone();
            let one = ServedInterface::start(one, snapshots, &shared)
                .with_context(|| format!("cannot serve {name}"))?;
            live.add(&one);
            served.push(one);
        }
        if let Some(handover) = &handover {
            let ms = handover::monotonic().saturating_sub(handover.since) / 1_000_000;
            tracing::info!(event = "took_over", ms, "resumed the previous pxed's transfers");
        }
        let live = Arc::new(live);
        let web = Web::start(listeners, &fleet, &live, &gauges, (clock, &heartbeats))?;
        let mut server = Self {
            served,
            loader: None,
            orders,
            fleet,
            keeper: Some(keeper),
            web: Some(web),
            uploads,
            gauges,
            live,
            clock,
            heartbeats,
        };
        server.start_loader()?;
        Ok(server)
    }

    fn start_loader(&mut self) -> Result<()> {
        let shelves: Vec<_> = self.served.iter().filter_map(|served| served.cache.clone()).collect();
        let live = Arc::clone(&self.live);
        let refreshed = move |_: &Catalogue| {
            live.refresh();
            shelves.iter().for_each(|cache| cache.tidy());
        };
        let loader = loader::Loader {
            catalogue: Arc::clone(&self.live.catalogue),
            queue: Arc::clone(&self.orders),
            fleet: self.fleet.clone(),
            http: self.live.setup.load().offering.http.map(|http| http.port),
            alive: Box::new(beats(&self.heartbeats, "pxed-loader", Waits::ForDisks, self.clock)),
        };
        let run = move || loader::run(&loader, refreshed);
        let thread = std::thread::Builder::new().name("pxed-loader".into()).spawn(run);
        self.loader = Some(thread.context("cannot start a thread")?);
        Ok(())
    }

    /// Serves until a signal says stop, then takes everything down.
    ///
    /// # Errors
    /// When signals cannot be received, or when an interface is gone.
    pub fn run(mut self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the supervisor")?;
        let result = runtime.block_on(supervise::run(&mut self));
        // A look at the configuration that hangs is left alone.
        runtime.shutdown_background();
        if let Ok(End::HandOver(asker)) = &result {
            return self.hand_over(asker);
        }
        self.served.iter_mut().for_each(ServedInterface::stop_workers);
        supervise::summarise(&self);
        self.stop();
        result.map(drop)
    }

    /// Ends, and leaves everything to a successor.
    fn hand_over(&mut self, asker: &Requester) -> Result<()> {
        let since = handover::monotonic();
        let interfaces: Vec<InterfaceState> =
            self.served.iter_mut().map(ServedInterface::hand_over).collect();
        let transfers: usize = interfaces.iter().map(|interface| interface.snapshots.len()).sum();
        supervise::summarise(self);
        // What the successor needs: the interfaces with their locks, the ports, the database. Whatever waits for a disk does
        // not keep it waiting.
        self.served.clear();
        self.web = None;
        self.stop_keeper();
        match asker.give(HandoverState { since, interfaces }) {
            Ok(()) => tracing::info!(event = "handed_over", transfers, "{}", asker.words()),
            // A stop like any other.
            Err(error) if asker.is_kept() => {
                tracing::warn!("cannot leave the transfers for a restart: {error}")
            }
            Err(error) => return Err(error).context("cannot hand over to another pxed"),
        }
        self.stop();
        Ok(())
    }

    fn stop(&mut self) {
        for served in &mut self.served {
            served.stop();
        }
        self.web = None;
        self.uploads = None;
        self.orders.waker().stop();
        if let Some(thread) = self.loader.take() {
            let _ = thread.join();
        }
        self.stop_keeper();
    }

    fn stop_keeper(&mut self) {
        if let Some(thread) = self.keeper.take() {
            // Its last word is written down before it ends.
            let _ = self.fleet.send_blocking(Message::Stop);
            let _ = thread.join();
        }
    }
}

/// Opens all interfaces, with what is left of them, and their ports for HTTP; what each goes on with.
fn open(
    prepared: Vec<PreparedInterface>,
    options: &Options,
    http: Option<Http>,
    listeners: &mut web::WebListeners,
    handover: &mut Option<HandoverState>,
) -> Result<(Vec<OpenInterface>, Vec<Vec<TransferSnapshot>>)> {
    let (mut opened, mut snapshots) = (Vec::new(), Vec::new());
    for one in prepared {
        let name = one.plan.interface.name.clone();
        let mut interface_state = HandoverState::take_interface(handover, &name);
        let one = one.open(options, &mut interface_state).with_context(|| format!("cannot serve {name}"))?;
        if let Some(http) = http {
            listeners.add(one.plan.subnet.address, http.port)?;
        }
        opened.push(one);
        snapshots.push(interface_state.snapshots);
    }
    for left in handover.iter().flat_map(|handover| &handover.interfaces) {
        tracing::warn!(
            interface = left.name,
            "the previous pxed served this interface, and no pxed does now"
        );
    }
    Ok((opened, snapshots))
}

/// What the daemon has open beside what each interface needs: listeners, the database, watches, files being read.
const DESCRIPTORS: u64 = 64;
/// What an interface needs for itself, and for each queue: programs, maps, sockets, bells.
const DESCRIPTORS_INTERFACE: u64 = 32;
const DESCRIPTORS_QUEUE: u64 = 8;

/// As many descriptors as we may have: the usual limit of 1024 is less than a fleet's connections.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // What is refused leaves the limit as it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// # Errors
/// When as many descriptors as we may have are not enough to serve anybody: what fails then, fails in many places, and not always
/// with a good word.
fn check_descriptors(options: &Options) -> Result<()> {
    // An interface that cannot be planned has its own message.
    let plans: Vec<Plan> =
        options.interfaces.iter().filter_map(|name| preconditions::plan(options, name).ok()).collect();
    let needed = |plan: &Plan| DESCRIPTORS_INTERFACE + DESCRIPTORS_QUEUE * u64::from(plan.interface.queues);
    let needed = DESCRIPTORS + plans.iter().map(needed).sum::<u64>();
    match getrlimit(Resource::Nofile).maximum {
        Some(most) if most < needed => {
            bail!("{most} open files are not enough: {needed} are needed (ulimit -n, LimitNOFILE=)")
        }
        _ => Ok(()),
    }
}

/// Starts the fleet's thread.
fn keep(
    options: &Options,
    settings: &FleetSettings,
    clock: Clock,
    heartbeats: &Heartbeats,
) -> Result<(FleetHandle, JoinHandle<()>)> {
    let (fleet, messages) = FleetHandle::new();
    let config = FleetConfig {
        state: options.state.clone(),
        events: settings.events.clone(),
        retention: settings.retention,
        silence: settings.silence,
    };
    let deps = FleetDeps {
        monotonic: Box::new(move || clock.now()),
        wall: Box::new(wall_clock),
        neighbour: Box::new(neighbour),
        alive: Box::new(beats(heartbeats, "pxed-fleet", Waits::Never, clock)),
        store_alive: match options.state.is_some() || settings.events.is_some() {
            true => Box::new(beats(heartbeats, "pxed-store", Waits::ForDisks, clock)),
            false => Box::new(|| ()),
        },
    };
    let thread = thread::spawn(config, messages, fleet.clone(), deps);
    Ok((fleet, thread.context("cannot start a thread")?))
}

/// The sign of life of a thread that has no clock.
fn beats(heartbeats: &Heartbeats, thread: &str, waits: Waits, clock: Clock) -> impl Fn() + Send + use<> {
    let heartbeat = heartbeats.add(thread, waits, clock.now());
    move || heartbeat.beat(clock.now())
}

/// The Ethernet address of a neighbour, from the kernel's table.
pub(crate) fn neighbour(address: Ipv4Addr) -> Option<Mac> {
    neighbours::ethernet_address(address).map(Mac)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
