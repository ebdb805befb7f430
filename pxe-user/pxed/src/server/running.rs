//! The running daemon: its interfaces and threads, their start, and their end.
//!
//! [`Running::start`] consumes the last phase of the start (`start`). `supervise` watches over the result until it ends, by
//! [`Running::finish`] or [`Running::hand_over`].

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};

use super::confined::ThreadPermit;
use super::foreign_proxies::ForeignProxies;
use super::gauge_collector::GaugeCollector;
use super::handover::{self, HandoverState, InterfaceState, Requester};
use super::image_sources::ImageSources;
use super::reload::{LiveConfig, ReloadOutcome};
use super::segment_members::SegmentMembers;
use super::segment_view::Enrolment;
use super::served_interface::{self, ServedInterface};
use super::start::{Confined, StartContext};
use super::thread_deps::{beats, neighbour};
use super::watchdog::Watchdog;
use super::web::Web;
use crate::config::Settings;
use pxe_engine::clock::Clock;
use pxe_engine::heartbeat::{Heartbeats, Waits};
use pxe_engine::worker::loader;
use pxe_engine::worker::queues::LoaderQueue;
use pxe_engine::worker::upload_writer::Uploads;
use pxe_fleet::handle::{FleetHandle, Message};
use pxe_fleet::thread::{FleetConfig, FleetDeps, SharedLedger, wall_clock};

/// A daemon that serves. Dropping it stops its threads, and detaches and closes everything.
pub(super) struct Running {
    interfaces: Vec<ServedInterface>,
    loader: Option<JoinHandle<()>>,
    loader_queue: Arc<LoaderQueue>,
    fleet: FleetHandle,
    fleet_thread: Option<JoinHandle<()>>,
    web: Option<Web>,
    uploads: Option<Uploads>,
    gauges: GaugeCollector,
    foreign_proxies: ForeignProxies,
    live: Arc<LiveConfig>,
    clock: Clock,
    heartbeats: Heartbeats,
    permit: ThreadPermit,
    /// The shared ledger, if there is one.
    ledger: Option<SharedLedger>,
    /// Finds the segment's responders. `None` unless they are in the shared ledger.
    members: Option<SegmentMembers>,
    /// Fetches images from elsewhere. `None` unless there are some.
    images: Option<ImageSources>,
}

/// What [`Running::show`] has found.
pub(super) struct Shown {
    /// Whether to report to the service manager's watchdog.
    pub(super) is_well: bool,
    /// Whether any value differs from the last time.
    pub(super) has_changed: bool,
}

impl Running {
    /// Starts all threads, and resumes the transfers of a predecessor.
    ///
    /// # Errors
    /// When the system refuses a thread, or the kernel program does not start to redirect. Nothing stays attached then.
    pub(super) fn start(confined: Confined) -> Result<Self> {
        let Confined { interfaces: opened, listeners, handover, hand_over_refused, context, permit } =
            confined;
        let StartContext { offering, reader, catalogue, loader_queue, clock, ledger, images } = context;
        let settings = Arc::clone(offering.settings());
        let heartbeats = Heartbeats::default();
        let about = ledger.as_ref().map(|ledger| Arc::clone(&ledger.about));
        let (fleet, fleet_thread) = start_fleet(permit, &settings, ledger.clone(), (clock, &heartbeats))?;
        let responder = ledger.as_ref().map(|ledger| ledger.responder.clone());
        let responder =
            responder.or_else(|| settings.segment.as_ref().map(|segment| segment.own().to_string()));
        let gauges = GaugeCollector { hand_over_refused, responder, ..GaugeCollector::default() };
        let mut live = LiveConfig::new(offering, (catalogue, images), reader, Arc::clone(&loader_queue));
        live.about = about;
        let uploads = listeners.inbox.clone().map(|inbox| {
            let alive = beats(&heartbeats, "pxed-inbox", Waits::ForDisks, clock);
            permit.start_uploads(inbox, settings.transfers, fleet.clone(), alive)
        });
        let uploads = uploads.transpose()?;
        if settings.segment.is_some() {
            live.log_segment();
        }
        let mut interfaces = Vec::new();
        for (one, snapshots) in opened {
            let shared = served_interface::Shared {
                permit,
                settings: &settings,
                live: &live,
                loader_queue: &loader_queue,
                uploads: uploads.as_ref(),
                fleet: &fleet,
                clock,
                heartbeats: &heartbeats,
            };
            let name = one.plan.interface.name.clone();
            let one = ServedInterface::start(one, snapshots, &shared)
                .with_context(|| format!("cannot serve {name}"))?;
            live.add(one.plan.subnet.address, Arc::clone(&one.policy));
            interfaces.push(one);
        }
        if let Some(handover) = &handover {
            let ms = handover::monotonic().saturating_sub(handover.since) / 1_000_000;
            tracing::info!(event = "took_over", ms, "resumed the previous pxed's transfers");
        }
        let live = Arc::new(live);
        let web = Web::start(permit, listeners, &fleet, &live, &gauges, (clock, &heartbeats))?;
        let mut running = Self {
            interfaces,
            loader: None,
            loader_queue,
            fleet,
            fleet_thread: Some(fleet_thread),
            web: Some(web),
            uploads,
            gauges,
            foreign_proxies: ForeignProxies::default(),
            live,
            clock,
            heartbeats,
            permit,
            ledger,
            members: None,
            images: None,
        };
        running.start_loader()?;
        running.follow_segment(&settings)?;
        running.images = ImageSources::start(permit, &settings, &running.live, clock)?;
        Ok(running)
    }

    fn start_loader(&mut self) -> Result<()> {
        let caches: Vec<_> = self.interfaces.iter().filter_map(|served| served.cache.clone()).collect();
        let live = Arc::clone(&self.live);
        let refreshed = move || {
            live.refresh();
            caches.iter().for_each(|cache| cache.tidy());
        };
        let loader = loader::Loader {
            catalogue: Arc::clone(&self.live.catalogue),
            queue: Arc::clone(&self.loader_queue),
            fleet: self.fleet.clone(),
            http: self.live.settings().http_port,
            clock: self.clock,
            alive: Box::new(beats(&self.heartbeats, "pxed-loader", Waits::ForDisks, self.clock)),
        };
        self.loader = Some(self.permit.spawn("pxed-loader", move || loader::run(&loader, refreshed))?);
        Ok(())
    }

    /// Has the segment's responders found in the shared ledger, if these settings want that.
    fn follow_segment(&mut self, settings: &Settings) -> Result<()> {
        let enrolment = Enrolment::of(settings.segment.as_ref());
        if enrolment.is_none() && self.members.is_none() {
            return Ok(());
        }
        if self.members.is_none() {
            // Only a restart applies [ledger].
            let ledger = self.ledger.clone();
            let ledger = ledger.context("[segment] needs [ledger], which only a restart of pxed applies")?;
            self.members =
                Some(SegmentMembers::start(self.permit, ledger, Arc::clone(&self.live), self.clock)?);
        }
        if let Some(members) = &self.members {
            members.join(enrolment);
        }
        Ok(())
    }

    /// The permission to start threads.
    pub(super) fn permit(&self) -> ThreadPermit {
        self.permit
    }

    /// The interfaces that are served.
    pub(super) fn interfaces(&mut self) -> &mut [ServedInterface] {
        &mut self.interfaces
    }

    /// The settings in force.
    pub(super) fn live(&self) -> &Arc<LiveConfig> {
        &self.live
    }

    /// The supervisor's view of the threads, as of now.
    pub(super) fn watchdog(&self) -> Watchdog {
        Watchdog::new(self.clock.now(), sd_notify::watchdog_enabled())
    }

    /// Publishes the counters and the threads that hang.
    pub(super) fn show(&mut self, watchdog: &mut Watchdog) -> Shown {
        let (hanging, is_well) = watchdog.look(self.clock.now(), &self.heartbeats);
        self.gauges.hanging = hanging.to_vec();
        self.look_for_others();
        let has_changed = self.gauges.show(&self.interfaces, &self.live);
        Shown { is_well, has_changed }
    }

    /// Looks which other proxyDHCP servers have sent offers.
    fn look_for_others(&mut self) {
        let now = self.clock.now();
        let own: Vec<_> = self.interfaces.iter().map(|served| served.plan.subnet.address).collect();
        for listener in self.interfaces.iter_mut().filter_map(|served| served.offers.as_mut()) {
            self.foreign_proxies.look(now, listener, &own);
        }
        let problem = self.foreign_proxies.problem(now, self.live.sharing());
        if problem != self.gauges.foreign_proxies {
            match &problem {
                Some(problem) => tracing::warn!(event = "foreign_proxy", "{problem}"),
                None => tracing::info!(event = "foreign_proxy", "no other proxyDHCP server is seen any more"),
            }
            self.gauges.foreign_proxies = problem;
        }
    }

    /// Logs the outcome of a look at the configuration, and applies rates and segment to the kernel programs.
    pub(super) fn reloaded(&mut self, outcome: ReloadOutcome) {
        match outcome {
            ReloadOutcome::Nothing => {}
            ReloadOutcome::Taken(settings) => {
                self.gauges.reloads += 1;
                self.gauges.config_problem = None;
                let rules = settings.rules.len();
                tracing::info!(event = "reloaded", rules, "applied the changed configuration");
                self.set_limits(&settings);
                if let Some(images) = &self.images {
                    images.replace(settings.sources.clone());
                }
                if let Err(error) = self.follow_segment(&settings) {
                    tracing::error!(event = "refused_config", "the new segment is not applied: {error:#}");
                    self.gauges.config_problem = Some(format!("{error:#}"));
                }
            }
            ReloadOutcome::Refused(error) => {
                tracing::error!(
                    event = "refused_config",
                    "rejected the new configuration; the running configuration stays: {error:#}"
                );
                self.gauges.config_problem = Some(format!("{error:#}"));
            }
        }
    }

    /// Applies the ranks among the responders that the shared ledger has shown.
    pub(super) fn found_others(&mut self) {
        let settings = self.live.settings();
        self.set_limits(&settings);
    }

    /// Applies rates and segment to the kernel programs.
    fn set_limits(&mut self, settings: &Settings) {
        let (rates, ranks) = (settings.rate_limits().rates(), self.live.ranks.load_full());
        for served in &mut self.interfaces {
            if let Err(error) = served.set_limits(rates, ranks.clone()) {
                tracing::error!(
                    event = "refused_config",
                    "the kernel rejected the new limits or segment; those before stay: {error:#}"
                );
                self.gauges.config_problem = Some(format!("{error:#}"));
            }
        }
    }

    /// Lets the other responders of the segment take over the machines, before this daemon ends.
    pub(super) fn leave_segment(&mut self) {
        if let Some(members) = self.members.take() {
            members.leave();
        }
    }

    /// Ends without a successor.
    pub(super) fn finish(&mut self) {
        self.interfaces.iter_mut().for_each(ServedInterface::stop_workers);
        self.summarise();
        self.stop();
    }

    /// Ends, and hands the state over to a successor.
    ///
    /// # Errors
    /// When a successor that waits does not get the state.
    pub(super) fn hand_over(&mut self, requester: &Requester) -> Result<()> {
        let since = handover::monotonic();
        let interfaces: Vec<InterfaceState> =
            self.interfaces.iter_mut().map(ServedInterface::hand_over).collect();
        let transfers: usize = interfaces.iter().map(|interface| interface.snapshots.len()).sum();
        self.summarise();
        // The successor needs the interfaces with their locks, the ports, and the database. What may wait for a disk stops
        // after the hand-over.
        self.interfaces.clear();
        self.web = None;
        self.stop_fleet();
        match requester.give(HandoverState { since, interfaces }) {
            Ok(()) => tracing::info!(event = "handed_over", transfers, "{}", requester.words()),
            // Nobody waits for the state: this is a stop like any other.
            Err(error) if requester.is_kept() => {
                tracing::warn!("cannot leave the transfers for a restart: {error}")
            }
            Err(error) => return Err(error).context("cannot hand over to another pxed"),
        }
        self.stop();
        Ok(())
    }

    /// Logs what was counted. The counters are final once the workers have ended.
    fn summarise(&self) {
        for served in &self.interfaces {
            let interface = served.plan.interface.name.as_str();
            let all = served.counters().into_iter().chain(served.kernel_counters());
            let text: Vec<_> = all
                .filter(|(_, value)| *value > 0)
                .map(|(label, value)| format!("{label}={value}"))
                .collect();
            tracing::info!(
                interface,
                "counted: {}",
                if text.is_empty() { "nothing".into() } else { text.join(" ") }
            );
        }
    }

    fn stop(&mut self) {
        for served in &mut self.interfaces {
            served.stop();
        }
        self.web = None;
        self.uploads = None;
        self.images = None;
        self.loader_queue.waker().stop();
        if let Some(thread) = self.loader.take() {
            let _ = thread.join();
        }
        self.stop_fleet();
    }

    fn stop_fleet(&mut self) {
        if let Some(thread) = self.fleet_thread.take() {
            // The fleet stores its last changes before its thread ends.
            let _ = self.fleet.send_blocking(Message::Stop);
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the threads of the fleet, its store, and the shared ledger, if there is one.
fn start_fleet(
    permit: ThreadPermit,
    settings: &Settings,
    ledger: Option<SharedLedger>,
    (clock, heartbeats): (Clock, &Heartbeats),
) -> Result<(FleetHandle, JoinHandle<()>)> {
    let (fleet, messages) = FleetHandle::new();
    let config = FleetConfig {
        state: settings.state.clone(),
        ledger,
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
    let thread = permit.start_fleet(config, messages, fleet.clone(), deps)?;
    Ok((fleet, thread))
}
