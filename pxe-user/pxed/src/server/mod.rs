//! Sets everything up, watches over it, and takes it down.
//!
//! Whatever fails while setting up leaves nothing behind: each part gives back what it holds when it is dropped, and
//! the kernel does the same if the process dies.

mod confined;
mod gauge_collector;
mod handover;
mod kernel_config;
mod open_interface;
mod own_files;
mod planning;
pub mod preconditions;
mod refusal_notice;
mod reload;
mod retry;
mod served_interface;
mod supervise;
mod thread_deps;
mod watchdog;
mod web;

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};

use crate::config::Settings;
use crate::confine::Account;
use crate::offering::Offering;
use pxe_content::boot::Catalogue;
use pxe_engine::clock::Clock;
use pxe_engine::heartbeat::{Heartbeats, Waits};
use pxe_engine::plan::Plan;
use pxe_engine::responder::TransferSnapshot;
use pxe_engine::worker::loader;
use pxe_engine::worker::queues::LoaderQueue;
use pxe_engine::worker::upload_writer::Uploads;
use pxe_fleet::handle::{FleetHandle, Message};
use pxe_fleet::thread::{self, FleetConfig, FleetDeps, wall_clock};

use gauge_collector::GaugeCollector;
use handover::{HandoverState, InterfaceState, Predecessor, Requester};
pub use handover::{Inheritance, StoredHandover};
use open_interface::{OpenInterface, PreparedInterface};
use planning::{check_descriptors, raise_descriptor_limit};
pub use planning::{plan, plans};
pub use reload::ConfigReader;
use reload::LiveConfig;
use served_interface::ServedInterface;
use thread_deps::{beats, neighbour};
use web::Web;

/// Serves until a signal or a successor ends the daemon. Resumes the transfers of a predecessor, as `inheritance` says; `reader`
/// reads the settings again when the file has changed.
///
/// # Errors
/// What is in the way, with the remedy. Nothing stays attached or open.
pub fn serve(offering: Offering, reader: ConfigReader, inheritance: Inheritance) -> Result<()> {
    Server::start(offering, reader, inheritance)?.run()
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
    fn start(offering: Offering, reader: ConfigReader, inheritance: Inheritance) -> Result<Self> {
        let settings = Arc::clone(offering.settings());
        let settings = &*settings;
        raise_descriptor_limit();
        check_descriptors(settings)?;
        let catalogue = Catalogue::open(settings.files())?;
        for missing in catalogue.missing() {
            tracing::warn!("{missing}");
        }
        let orders =
            Arc::new(LoaderQueue::new(settings.transfers.max(1024)).context("cannot make an eventfd")?);
        let clock = Clock::start();
        let prepare = |plan: Plan| {
            let name = plan.interface.name.clone();
            PreparedInterface::new(plan, settings).with_context(|| format!("cannot serve {name}"))
        };
        let prepared = plans(settings)?.into_iter().map(prepare).collect::<Result<Vec<_>>>()?;
        // What would be in the way later is said before a predecessor ends.
        Account::find(settings.user.as_deref())?;
        // From here until the workers run, nobody answers.
        let Predecessor { mut handover, refused } =
            handover::find(&settings.interfaces, inheritance, &catalogue)?;
        // The sockets first: an address that is taken should be said before anything is attached or opened.
        let mut listeners = web::WebListeners::open(settings)?;
        let (opened, snapshots) = open(prepared, settings, &mut listeners, &mut handover)?;
        // From here on with the least rights, and not before here with a second thread.
        confined::enter(settings, reader.file(), &catalogue, &opened)?;
        let heartbeats = Heartbeats::default();
        let (fleet, keeper) = keep(settings, clock, &heartbeats)?;
        let gauges = GaugeCollector { hand_over_refused: refused, ..GaugeCollector::default() };
        let mut live = LiveConfig::new(offering, catalogue, reader);
        let uploads = listeners.inbox.clone().map(|inbox| {
            let alive = beats(&heartbeats, "pxed-inbox", Waits::ForDisks, clock);
            Uploads::start(inbox, settings.transfers, fleet.clone(), alive).context("cannot start a thread")
        });
        let uploads = uploads.transpose()?;
        let mut served = Vec::new();
        for (one, snapshots) in opened.into_iter().zip(snapshots) {
            let shared = served_interface::Shared {
                settings,
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
            live.add(one.plan.subnet.address, Arc::clone(&one.policy));
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
            http: self.live.settings().http_port,
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
    settings: &Settings,
    listeners: &mut web::WebListeners,
    handover: &mut Option<HandoverState>,
) -> Result<(Vec<OpenInterface>, Vec<Vec<TransferSnapshot>>)> {
    let (mut opened, mut snapshots) = (Vec::new(), Vec::new());
    for one in prepared {
        let name = one.plan.interface.name.clone();
        let mut interface_state = HandoverState::take_interface(handover, &name);
        let one = one.open(settings, &mut interface_state).with_context(|| format!("cannot serve {name}"))?;
        if let Some(port) = settings.http_port {
            listeners.add(one.plan.subnet.address, port)?;
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

/// Starts the fleet's thread.
fn keep(settings: &Settings, clock: Clock, heartbeats: &Heartbeats) -> Result<(FleetHandle, JoinHandle<()>)> {
    let (fleet, messages) = FleetHandle::new();
    let config = FleetConfig {
        state: settings.state.clone(),
        events: settings.events.clone(),
        retention: settings.retention,
        silence: settings.silence,
    };
    let deps = FleetDeps {
        monotonic: Box::new(move || clock.now()),
        wall: Box::new(wall_clock),
        neighbour: Box::new(neighbour),
        alive: Box::new(beats(heartbeats, "pxed-fleet", Waits::Never, clock)),
        store_alive: match settings.state.is_some() || settings.events.is_some() {
            true => Box::new(beats(heartbeats, "pxed-store", Waits::ForDisks, clock)),
            false => Box::new(|| ()),
        },
    };
    let thread = thread::spawn(config, messages, fleet.clone(), deps);
    Ok((fleet, thread.context("cannot start a thread")?))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
