//! One interface that is served: its lock, its kernel program, its workers. `running` starts and ends it, and `supervise` compares
//! it with the host.

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail};
use arc_swap::ArcSwap;
use pxe_common::abi::{self, Config, dhcp_mode};
use pxe_common::rate_limit::Rates;
use pxe_common::segment::Ranks;

use super::confined::ThreadPermit;
use super::foreign_proxies::OfferListener;
use super::handover::InterfaceState;
use super::kernel_config::{config, offload_words, slots_each, transfers_each};
use super::open_interface::{OpenInterface, Path, Xdp};
use super::reload::LiveConfig;
use super::thread_deps::neighbour;
use pxe_content::rules::Policy;
use pxe_engine::clock::Clock;
use pxe_engine::counters::PublishedCounters;
use pxe_engine::heartbeat::{Heartbeats, Waits};
use pxe_engine::plan::{DhcpPath, Plan};
use pxe_engine::responder::{Responder, ResponderSettings, Sources, TransferSnapshot};
use pxe_engine::worker::offload::{Common, Offload, key, windowsize_max};
use pxe_engine::worker::offload_cache::OffloadCache;
use pxe_engine::worker::queues::{LoaderQueue, WorkerQueues};
use pxe_engine::worker::sockets::SocketPath;
use pxe_engine::worker::upload_writer::Uploads;
use pxe_engine::worker::xdp::XdpPath;
use pxe_engine::worker::{Datapath, Worker, WorkerDeps, WorkerHandover};
use pxe_fleet::handle::FleetHandle;
use pxe_nic::Queue;
use pxe_nic::interface::Interface;
use pxe_nic::lock::InterfaceLock;
use pxe_nic::programs::{Mode, Programs};
use pxe_nic::xsk::Copying;
use pxe_proto::mac::Mac;
use pxe_proto::tftp::negotiation::OptionLimits;
use pxe_proto::tftp::table::TidPorts;

/// What the interfaces of a daemon share, for [`ServedInterface::start`].
pub(super) struct Shared<'a> {
    pub(super) permit: ThreadPermit,
    pub(super) settings: &'a crate::config::Settings,
    pub(super) live: &'a LiveConfig,
    pub(super) loader_queue: &'a Arc<LoaderQueue>,
    pub(super) uploads: Option<&'a Uploads>,
    pub(super) fleet: &'a FleetHandle,
    pub(super) clock: Clock,
    pub(super) heartbeats: &'a Heartbeats,
}

/// An interface that is served.
pub(super) struct ServedInterface {
    pub(super) plan: Plan,
    /// The programs in the kernel. `None` with plain sockets.
    pub(super) programs: Option<Programs>,
    /// Where the XDP program runs. `None` with plain sockets.
    pub(super) mode: Option<Mode>,
    /// What the kernel may answer by itself: bits of `abi::offload`.
    pub(super) offload: u32,
    pub(super) dhcp: DhcpPath,
    pub(super) published: Vec<PublishedCounters>,
    /// The files that the kernel sends by itself. `None` without the offload.
    pub(super) cache: Option<Arc<OffloadCache>>,
    /// The rate limits in the kernel program.
    rates: Rates,
    /// Our ranks in the kernel program. `None` if we share the segment with nobody.
    ranks: Option<Arc<Ranks>>,
    /// The rules. All workers read them.
    pub(super) policy: Arc<ArcSwap<Policy>>,
    /// Whether the workers see Ethernet addresses: frames have them, datagrams from sockets do not.
    sees_neighbours: bool,
    queues: Arc<[Arc<WorkerQueues>]>,
    threads: Vec<JoinHandle<WorkerHandover>>,
    /// Transfers of a predecessor that no worker has resumed yet.
    snapshots: Vec<TransferSnapshot>,
    /// Offers of other proxyDHCP servers. `None` if the host refuses the socket.
    pub(super) offers: Option<OfferListener>,
    pub(super) lock: InterfaceLock,
}

impl ServedInterface {
    /// Starts the workers of an interface, which resume the transfers of a predecessor.
    ///
    /// # Errors
    /// When the system refuses a thread, a map or an eventfd. The interface is detached then.
    pub(super) fn start(
        opened: OpenInterface,
        snapshots: Vec<TransferSnapshot>,
        shared: &Shared<'_>,
    ) -> Result<Self> {
        let OpenInterface { plan, dhcp, path, offers, lock } = opened;
        let live = shared.live;
        let policy = live.offering.load().policy(plan.subnet.address, &live.catalogue.load());
        let mut served = Self {
            programs: None,
            mode: None,
            offload: 0,
            cache: None,
            dhcp,
            published: Vec::new(),
            rates: **live.rates.load(),
            ranks: live.ranks.load_full(),
            policy: Arc::new(ArcSwap::from_pointee(policy)),
            sees_neighbours: false,
            queues: Arc::default(),
            threads: Vec::new(),
            snapshots,
            offers,
            lock,
            plan,
        };
        match path {
            Path::Xdp(xdp) => served.start_xdp(*xdp, shared)?,
            Path::Sockets(sockets) => served.start_sockets(*sockets, shared)?,
        }
        served.forget_lost_transfers()?;
        Ok(served)
    }

    /// Forgets the transfers of a predecessor that no worker could resume. The host gets their packets from now on.
    fn forget_lost_transfers(&mut self) -> Result<()> {
        let lost = std::mem::take(&mut self.snapshots);
        if lost.is_empty() {
            return Ok(());
        }
        let (count, interface) = (lost.len(), &self.plan.interface.name);
        tracing::warn!(interface, count, "cannot resume transfers from the previous pxed");
        if let Some(programs) = &self.programs {
            let mut transfers = programs.transfers()?;
            lost.iter().for_each(|snapshot| transfers.remove(&key(snapshot.client, snapshot.port)));
        }
        Ok(())
    }

    fn start_xdp(&mut self, xdp: Xdp, shared: &Shared<'_>) -> Result<()> {
        let Xdp { mut programs, sockets, mode, offload } = xdp;
        let copying = sockets.first().map_or(Copying::Copy, |socket| socket.copying);
        let count = sockets.len();
        let mut copies = Some(programs.copies()?);
        self.make_queues(count, shared)?;
        self.sees_neighbours = true;
        self.mode = Some(mode);
        self.offload = offload;
        let common = self.offload_common(&mut programs, shared)?;
        for (index, socket) in sockets.into_iter().enumerate() {
            let queue = Queue(u32::try_from(index).context("too many queues")?);
            programs.connect(queue, &socket)?;
            let base =
                u32::try_from(index * slots_each(shared.settings.transfers, count)).unwrap_or(u32::MAX);
            let offload = common.clone().map(|common| Offload::new(common, base));
            let path = XdpPath::new(
                socket,
                Mac(self.plan.interface.mac),
                programs.transfers()?,
                copies.take(),
                offload,
            )?;
            self.spawn(index, path, self.plan.tids, self.plan.path_mtu(true), shared)?;
        }
        if let Some(ranks) = &self.ranks {
            programs.set_ranks(ranks)?;
        }
        // Last of all: from here on the program redirects frames, and the workers are there to take them.
        programs.configure(&self.config())?;
        self.programs = Some(programs);
        tracing::info!(
            interface = self.plan.interface.name,
            address = %self.plan.subnet.address,
            datapath = "xdp",
            mode = mode.as_str(),
            copying = copying.as_str(),
            offload = offload_words(offload),
            queues = count,
            "serving; {}; DHCP broadcasts are copied and passed on, requests to our address are {}",
            self.plan.why,
            self.dhcp.explain()
        );
        Ok(())
    }

    /// The part of the offload that all workers share. `None` without the offload.
    fn offload_common(&mut self, programs: &mut Programs, shared: &Shared<'_>) -> Result<Option<Common>> {
        if self.offload == 0 {
            return Ok(None);
        }
        let cache = Arc::new(OffloadCache::new(programs.files()?, shared.settings.offload_memory));
        self.cache = Some(Arc::clone(&cache));
        Ok(Some(Common {
            progress: Arc::new(programs.progress()?),
            cache,
            loader: Arc::clone(shared.loader_queue),
            trust: Arc::default(),
            windowsize: windowsize_max(self.offload & abi::offload::TCX != 0),
            clock: shared.clock,
        }))
    }

    fn start_sockets(&mut self, path: SocketPath, shared: &Shared<'_>) -> Result<()> {
        let address = self.plan.subnet.address;
        let (tids, mtu) = (path.tids(), self.plan.path_mtu(false));
        self.make_queues(1, shared)?;
        self.spawn(0, path, tids, mtu, shared)?;
        tracing::info!(interface = self.plan.interface.name, %address, datapath = "socket", "serving");
        Ok(())
    }

    fn make_queues(&mut self, count: usize, shared: &Shared<'_>) -> Result<()> {
        let queues = |_| WorkerQueues::new(shared.settings.transfers).map(Arc::new);
        self.queues =
            (0..count).map(queues).collect::<std::io::Result<_>>().context("cannot make an eventfd")?;
        Ok(())
    }

    /// Starts the worker with this index, from 0.
    fn spawn<D: Datapath>(
        &mut self,
        index: usize,
        path: D,
        all_ports: TidPorts,
        mtu: u16,
        shared: &Shared<'_>,
    ) -> Result<()> {
        let workers = u16::try_from(self.queues.len()).context("too many queues")?;
        let (given, live) = (shared.settings, shared.live);
        let ports = all_ports.share(u16::try_from(index).context("too many queues")?, workers);
        let settings = ResponderSettings {
            interface: self.plan.interface.name.as_str().into(),
            address: self.plan.subnet.address,
            mask: self.plan.subnet.mask,
            broadcast: self.plan.subnet.broadcast(),
            limits: OptionLimits::for_mtu(mtu, given.windowsize),
            transfers: transfers_each(given.transfers, usize::from(workers)),
            ports,
            sees_ethernet: self.sees_neighbours,
            foreign_chaddr: given.foreign_chaddr,
            filters_requests: !self.sees_neighbours,
            uploads: shared.uploads.map(|uploads| uploads.limiter().clone()),
        };
        let sources = Sources {
            policy: Arc::clone(&self.policy),
            catalogue: Arc::clone(&live.catalogue),
            boot_records: Arc::clone(shared.fleet.boot_records()),
            access: Arc::clone(&live.access),
            rates: Arc::clone(&live.rates),
            ranks: Arc::clone(&live.ranks),
        };
        let responder = Responder::new(settings, sources);
        let published = PublishedCounters::default();
        self.published.push(published.clone());
        let name = format!("pxed-{}-{index}", self.plan.interface.name);
        let deps = WorkerDeps {
            index,
            all_ports,
            queues: Arc::clone(&self.queues),
            loader: Arc::clone(shared.loader_queue),
            uploads: shared.uploads.map(|uploads| Arc::clone(uploads.queue())),
            fleet: shared.fleet.clone(),
            published,
            neighbour,
            clock: shared.clock,
            heartbeat: shared.heartbeats.add(name.as_str(), Waits::Never, shared.clock.now()),
        };
        let mut worker = Worker::new(path, responder, deps);
        let (address, needs_link) = (self.plan.subnet.address, self.sees_neighbours);
        let is_its_own = |snapshot: &mut TransferSnapshot| {
            let has_link = !needs_link || snapshot.link.peer != Mac::default();
            ports.contains(snapshot.port) && snapshot.server == address && has_link
        };
        let lost = worker.resume(self.snapshots.extract_if(.., is_its_own).collect());
        self.snapshots.extend(lost);
        self.threads.push(shared.permit.spawn(&name, move || worker.run())?);
        Ok(())
    }

    fn config(&self) -> Config {
        let shared = u32::from(self.ranks.is_some());
        Config { offload: self.offload, rates: self.rates, shared, ..config(&self.plan, self.dhcp) }
    }

    /// Follows a new name of the interface. Programs and sockets are bound to its index. Rules keep the old name.
    pub(super) fn follow_rename(&mut self, name: String) {
        let old = std::mem::replace(&mut self.plan.interface.name, name);
        let new = &self.plan.interface.name;
        tracing::warn!(event = "renamed", "interface {old} was renamed to {new}: change the configuration");
    }

    /// Compares the interface with what it was at the start. Follows a DHCP server that starts or ends on this host.
    ///
    /// # Errors
    /// When the interface has changed in a way that needs a restart.
    pub(super) fn follow_changes(&mut self, now: &Interface) -> Result<()> {
        let (name, address) = (&now.name, self.plan.subnet.address);
        if !now.addresses.iter().any(|subnet| subnet.address == address) {
            bail!("interface {name} no longer has the address {address}: restart pxed");
        }
        if now.mac != self.plan.interface.mac || now.mtu != self.plan.interface.mtu {
            bail!("interface {name} has a new Ethernet address or MTU: restart pxed");
        }
        if self.programs.is_some() && now.queues != self.plan.interface.queues {
            // Each queue has a socket. Frames that arrive on a new queue would have none.
            bail!("interface {name} has {} receive queues now: restart pxed", now.queues);
        }
        let dhcp = DhcpPath::decide(now);
        if dhcp == self.dhcp || self.programs.is_none() {
            return Ok(());
        }
        self.dhcp = dhcp;
        let config = self.config();
        if let Some(programs) = &mut self.programs {
            programs.configure(&config)?;
        }
        tracing::info!(
            interface = self.plan.interface.name,
            "DHCP requests to our address are now {}",
            dhcp.explain()
        );
        Ok(())
    }

    /// Applies new rate limits, and our ranks among the segment's responders, to the kernel program.
    ///
    /// # Errors
    /// When the kernel refuses the new configuration.
    pub(super) fn set_limits(&mut self, rates: Rates, ranks: Option<Arc<Ranks>>) -> Result<()> {
        if rates == self.rates && ranks == self.ranks {
            return Ok(());
        }
        let before = (self.rates, self.ranks.clone());
        (self.rates, self.ranks) = (rates, ranks);
        let result = self.configure();
        if result.is_err() {
            // The next reload tries again.
            (self.rates, self.ranks) = before;
        }
        result
    }

    fn configure(&mut self) -> Result<()> {
        let config = self.config();
        let Some(programs) = &mut self.programs else { return Ok(()) };
        // Before the configuration, which makes the program look at them.
        if let Some(ranks) = &self.ranks {
            programs.set_ranks(ranks)?;
        }
        Ok(programs.configure(&config)?)
    }

    /// The sums of all workers' counters, by label.
    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut all: Vec<(&'static str, u64)> = Vec::new();
        for published in &self.published {
            match all.is_empty() {
                true => all.extend(published.read()),
                // All workers have the labels in the same order.
                false => {
                    all.iter_mut().zip(published.read()).for_each(|((_, sum), (_, value))| *sum += value)
                }
            }
        }
        all
    }

    /// The counters of the kernel program, by label.
    pub(super) fn kernel_counters(&self) -> Vec<(&'static str, u64)> {
        self.programs.as_ref().and_then(|programs| programs.counters().ok()).unwrap_or_default()
    }

    /// Stops the redirection, then the workers. After that the counters are final.
    pub(super) fn stop_workers(&mut self) {
        let off = Config { dhcp_mode: dhcp_mode::OFF, tftp: 0, ..Config::default() };
        self.end_workers(&off);
    }

    /// Configures the kernel program, ends the workers, and returns what they leave. A second call changes nothing: the program may
    /// belong to a successor by then.
    fn end_workers(&mut self, config: &Config) -> Vec<WorkerHandover> {
        if self.threads.is_empty() {
            return Vec::new();
        }
        if let Some(programs) = &mut self.programs {
            let _ = programs.configure(config);
        }
        self.queues.iter().for_each(|queues| queues.waker().stop());
        self.threads.drain(..).filter_map(|thread| thread.join().ok()).collect()
    }

    /// Ends the workers, and returns the state that a successor can use. As long as that exists, the kernel program stays attached,
    /// and drops what it would redirect.
    pub(super) fn hand_over(&mut self) -> InterfaceState {
        let leftovers = self.end_workers(&Config { hold: 1, ..config(&self.plan, self.dhcp) });
        let link = self.programs.as_ref().and_then(|programs| programs.link()?.try_clone_to_owned().ok());
        let mut interface_state = InterfaceState {
            name: self.plan.interface.name.clone(),
            index: self.plan.interface.index,
            link: self.mode.zip(link),
            sockets: Vec::new(),
            snapshots: Vec::new(),
        };
        for WorkerHandover { snapshots, descriptors } in leftovers {
            interface_state.snapshots.extend(snapshots);
            interface_state.sockets.extend(descriptors);
        }
        interface_state
    }

    /// Stops the workers, and detaches the program.
    pub(super) fn stop(&mut self) {
        self.stop_workers();
        self.programs = None;
    }
}

impl Drop for ServedInterface {
    fn drop(&mut self) {
        self.stop();
    }
}
