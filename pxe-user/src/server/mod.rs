//! Sets everything up, watches over it, and takes it down.
//!
//! Whatever fails while setting up leaves nothing behind: each part gives back what it holds when it is dropped, and
//! the kernel does the same if the process dies.

mod interface;
mod supervise;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::boot::Catalogue;
use crate::dhcp::{Menu, Service, Style, Url};
use crate::fleet::event::Event;
use crate::fleet::journal::Journal;
use crate::plan::{DatapathChoice, ModeChoice, OffloadChoice, Plan};
use crate::worker::mail::LoaderQueue;
use crate::worker::{Clock, loader};
use interface::Served;

/// Events that may wait for the journal; a machine makes about ten in a boot.
const JOURNAL_MAX: usize = 65536;

/// What to serve where.
#[derive(Clone, Debug)]
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
    /// How machines are told.
    pub style: Style,
    /// The boot menu, for [`Style::Menu`].
    pub menu: Option<Menu>,
    /// URLs for UEFI HTTP boot.
    pub http: Vec<(crate::dhcp::Arch, Url)>,
    /// Whether iPXE prefers our file to one that the DHCP server names.
    pub ipxe_priority: bool,
    /// Most transfers at a time.
    pub transfers: usize,
    /// Most blocks in a window.
    pub windowsize: u16,
}

impl Options {
    /// The plan for each interface.
    ///
    /// # Errors
    /// The first interface that cannot be served, with the remedy.
    pub fn plans(&self) -> Result<Vec<Plan>> {
        let plan =
            |name: &String| Plan::decide(name, self.address, self.datapath, self.mode).map_err(Into::into);
        self.interfaces.iter().map(plan).collect()
    }

    fn service(&self, address: Ipv4Addr, catalogue: &Catalogue) -> Service {
        let mut service = Service::new(address);
        service.programs = catalogue.programs();
        service.http.clone_from(&self.http);
        service.menu.clone_from(&self.menu);
        service.ipxe_priority = self.ipxe_priority;
        service
    }
}

/// Everything that runs.
pub struct Server {
    served: Vec<Served>,
    loader: Option<JoinHandle<()>>,
    orders: Arc<LoaderQueue>,
    events: mpsc::Receiver<Event>,
    journal: Journal,
    clock: Clock,
}

impl Server {
    /// Starts serving.
    ///
    /// # Errors
    /// What is in the way, with the remedy; nothing stays attached or open.
    pub fn start(options: &Options, catalogue: Catalogue) -> Result<Self> {
        let plans = options.plans()?;
        let catalogue = Arc::new(catalogue);
        let orders =
            Arc::new(LoaderQueue::new(options.transfers.max(1024)).context("cannot make an eventfd")?);
        let (sender, events) = mpsc::channel(JOURNAL_MAX);
        let clock = Clock::start();
        let mut server =
            Self { served: Vec::new(), loader: None, orders, events, journal: Journal::default(), clock };
        for plan in plans {
            let shared = interface::Shared {
                options,
                catalogue: &catalogue,
                orders: &server.orders,
                journal: &sender,
                clock,
            };
            let name = plan.interface.name.clone();
            let served = Served::start(plan, &shared).with_context(|| format!("cannot serve {name}"))?;
            server.served.push(served);
        }
        let queue = Arc::clone(&server.orders);
        let services: Vec<_> = server.served.iter().map(|served| Arc::clone(&served.service)).collect();
        let shelves: Vec<_> = server.served.iter().filter_map(|served| served.shelf.clone()).collect();
        let refreshed = move |catalogue: &Catalogue| {
            refresh(&services, catalogue);
            shelves.iter().for_each(|shelf| shelf.tidy());
        };
        let run = move || loader::run(&catalogue, &queue, || refreshed(&catalogue));
        let thread = std::thread::Builder::new().name("pxed-loader".into()).spawn(run);
        server.loader = Some(thread.context("cannot start a thread")?);
        Ok(server)
    }

    /// Serves until a signal says stop, then takes everything down.
    ///
    /// # Errors
    /// When signals cannot be received, or when an interface is gone.
    pub fn run(mut self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result = runtime.context("cannot start the supervisor")?.block_on(supervise::run(&mut self));
        self.served.iter_mut().for_each(Served::stop_workers);
        supervise::summarise(&mut self);
        self.stop();
        result
    }

    fn stop(&mut self) {
        for served in &mut self.served {
            served.stop();
        }
        self.orders.door().stop();
        if let Some(thread) = self.loader.take() {
            let _ = thread.join();
        }
    }
}

/// Tells machines of boot programs that have come or gone.
fn refresh(services: &[Arc<ArcSwap<Service>>], catalogue: &Catalogue) {
    let programs = catalogue.programs();
    for service in services {
        let old = service.load();
        if old.programs != programs {
            tracing::info!(
                event = "programs_changed",
                "the boot programs have changed: machines are told the new ones"
            );
            service.store(Arc::new(Service { programs: programs.clone(), ..Service::clone(&old) }));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
