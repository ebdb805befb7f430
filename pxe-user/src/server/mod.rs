//! Sets everything up, watches over it, and takes it down.
//!
//! Whatever fails while setting up leaves nothing behind: each part gives back what it holds when it is dropped, and
//! the kernel does the same if the process dies.

mod interface;
mod policy;
mod reload;
mod supervise;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use tokio::sync::mpsc;

use crate::boot::Catalogue;
use crate::fleet::handle::{FleetHandle, Message};
use crate::fleet::journal::Journal;
use crate::plan::{DatapathChoice, ModeChoice, OffloadChoice, Plan};
use crate::worker::mail::LoaderQueue;
use crate::worker::{Clock, loader};
use interface::Served;
pub use policy::Offering;
use reload::Current;
pub use reload::{Reread, Setup};

/// What to serve where: what holds as long as the daemon runs.
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
}

/// Everything that runs.
pub struct Server {
    served: Vec<Served>,
    loader: Option<JoinHandle<()>>,
    orders: Arc<LoaderQueue>,
    fleet: FleetHandle,
    messages: mpsc::Receiver<Message>,
    journal: Journal,
    clock: Clock,
    current: Arc<Current>,
}

impl Server {
    /// Starts serving; `reread` is asked for what has changed.
    ///
    /// # Errors
    /// What is in the way, with the remedy; nothing stays attached or open.
    pub fn start(options: &Options, setup: Setup, reread: Reread) -> Result<Self> {
        let plans = options.plans()?;
        let catalogue = Catalogue::open(setup.files.clone())?;
        for missing in catalogue.missing() {
            tracing::warn!("{missing}");
        }
        let orders =
            Arc::new(LoaderQueue::new(options.transfers.max(1024)).context("cannot make an eventfd")?);
        let (fleet, messages) = FleetHandle::new();
        let clock = Clock::start();
        let mut current = Current::new(setup, catalogue, reread);
        let mut served = Vec::new();
        for plan in plans {
            let shared = interface::Shared {
                options,
                offering: &current.setup.load().offering,
                catalogue: &current.catalogue,
                orders: &orders,
                fleet: &fleet,
                clock,
            };
            let name = plan.interface.name.clone();
            let one = Served::start(plan, &shared).with_context(|| format!("cannot serve {name}"))?;
            current.add(&one);
            served.push(one);
        }
        let current = Arc::new(current);
        let journal = Journal::default();
        let mut server = Self { served, loader: None, orders, fleet, messages, journal, clock, current };
        server.start_loader()?;
        Ok(server)
    }

    fn start_loader(&mut self) -> Result<()> {
        let shelves: Vec<_> = self.served.iter().filter_map(|served| served.shelf.clone()).collect();
        let current = Arc::clone(&self.current);
        let refreshed = move |_: &Catalogue| {
            current.refresh();
            shelves.iter().for_each(|shelf| shelf.tidy());
        };
        let loader = loader::Loader {
            catalogue: Arc::clone(&self.current.catalogue),
            queue: Arc::clone(&self.orders),
            fleet: self.fleet.clone(),
            http: self.current.setup.load().offering.http.map(|http| http.port),
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

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
