//! HTTP: the API for this host, the page, and files and reports on the machines' network. A thread with a runtime of its
//! own, so that nobody who asks here can keep a worker or the supervisor waiting.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use tokio::sync::watch;

use super::gauge_collector::GaugeCollector;
use super::reload::LiveConfig;
use super::{Options, beats, neighbour};
use pxe_content::boot::ServedAt;
use pxe_content::inbox::{Inbox, Quota};
use pxe_engine::clock::Clock;
use pxe_engine::heartbeat::{BEAT_EVERY, Heartbeats, Waits};
use pxe_fleet::handle::FleetHandle;
use pxe_web::api::access::Token;
use pxe_web::api::listen::SOCKET;
use pxe_web::api::machines::{Machines, Neighbours, Reports};
use pxe_web::api::serve::ConnectionLimits;
use pxe_web::api::{self, Api, Listeners};
use pxe_web::http::{Gate, Http};

/// Connections of machines at a time, on each interface, as far as there are descriptors for them.
const MACHINES_MAX: usize = 4096;
/// Connections of one machine: iPXE has one, firmware two.
const EACH_MAX: usize = 16;

/// Everything that is listened on, opened before anything is attached.
pub(super) struct WebListeners {
    api: Option<Listeners>,
    machines: Vec<(TcpListener, ServedAt)>,
    pub(super) inbox: Option<Arc<Inbox>>,
}

impl WebListeners {
    /// Opens the API's sockets and the inbox.
    ///
    /// # Errors
    /// What cannot be opened, with the remedy. The usual place for the API's socket may be taken: then there is a warning.
    pub(super) fn open(options: &Options) -> Result<Self> {
        let token = match options.board.as_ref().and_then(|board| board.token_file.as_ref()) {
            Some(path) => Some(Arc::new(Token::read(path)?)),
            None => None,
        };
        let listen = options.board.as_ref().map(|board| board.listen);
        let path = options.socket.as_deref().unwrap_or(Path::new(SOCKET));
        let api = match Listeners::bind(path, listen, token) {
            Ok(listeners) => Some(listeners),
            Err(error) if options.socket.is_none() && listen.is_none() => {
                tracing::warn!(
                    "`pxed status` cannot reach this daemon: {error}. Give another path with --socket"
                );
                None
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(address) = api.as_ref().and_then(Listeners::board) {
            tracing::info!("the board is at http://{address}/");
        }
        let inbox = match &options.inbox {
            Some(inbox) => {
                let quota = Quota { file: inbox.file, machine: inbox.machine, total: inbox.total };
                let opened = Inbox::open(&inbox.directory, quota);
                Some(opened.with_context(|| format!("cannot use the inbox {}", inbox.directory.display()))?)
            }
            None => None,
        };
        Ok(Self { api, machines: Vec::new(), inbox })
    }

    /// Listens on an interface's address for the machines there.
    ///
    /// # Errors
    /// When the port is taken.
    pub(super) fn add(&mut self, address: Ipv4Addr, port: u16) -> Result<()> {
        let to = SocketAddrV4::new(address, port);
        let listener = TcpListener::bind(to).with_context(|| {
            format!("cannot serve HTTP on {to}: give another port, or stop the program that uses it")
        })?;
        self.machines.push((listener, ServedAt { server: address, http: Some(port) }));
        Ok(())
    }
}

/// The thread. Dropping this ends it.
pub(super) struct Web {
    end: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    /// Starts to answer.
    pub(super) fn start(
        listeners: WebListeners,
        fleet: &FleetHandle,
        live: &LiveConfig,
        gauges: &GaugeCollector,
        (clock, heartbeats): (Clock, &Heartbeats),
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("pxed-http")
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let (end, ended) = watch::channel(());
        let neighbours: Arc<dyn Neighbours> = Arc::new(neighbour);
        let api = {
            let _runtime = runtime.enter();
            Api::new(fleet.clone(), Arc::clone(&gauges.shown))
        };
        let machines = Machines {
            fleet: fleet.clone(),
            neighbours: Arc::clone(&neighbours),
            inbox: listeners.inbox,
            reports: Reports::default(),
            counts: api.counts().clone(),
        };
        for (listener, here) in listeners.machines {
            let http = Http::new(
                Arc::clone(&live.catalogue),
                fleet.clone(),
                here,
                Arc::clone(&gauges.http_bytes),
                clock,
                machines.counts.clone(),
            );
            let gate = Gate {
                access: Arc::clone(&live.access),
                neighbours: Arc::clone(&neighbours),
                counts: machines.counts.clone(),
            };
            let router = gate.before(api::machines::router(machines.clone()).merge(http.router()));
            let (counts, ended) = (machines.counts.clone(), ended.clone());
            let address: Option<SocketAddr> = listener.local_addr().ok();
            runtime.spawn(async move {
                let served = api::serve::serve_tcp(listener, router, counts, "machines", most(), over(ended));
                if let Err(error) = served.await {
                    tracing::error!(?address, "HTTP for machines has ended: {error}");
                }
            });
        }
        runtime.spawn(beat_on(beats(heartbeats, "pxed-http", Waits::Never, clock)));
        let alive = beats(heartbeats, "pxed-web", Waits::Never, clock);
        let run = move || {
            runtime.block_on(async {
                let result = match listeners.api {
                    Some(listeners) => tokio::select! {
                        result = api::serve(api, listeners, over(ended)) => result,
                        () = beat_on(alive) => Ok(()),
                    },
                    None => tokio::select! {
                        () = over(ended) => Ok(()),
                        () = beat_on(alive) => Ok(()),
                    },
                };
                if let Err(error) = result {
                    tracing::error!("the API has ended: {error}");
                }
            });
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        };
        let thread = std::thread::Builder::new().name("pxed-web".into()).spawn(run);
        Ok(Self { end: Some(end), thread: Some(thread.context("cannot start a thread")?) })
    }
}

/// A connection has two descriptors, and half of all are for others.
fn most() -> ConnectionLimits {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let all = limit.and_then(|limit| usize::try_from(limit / 4).ok()).unwrap_or(MACHINES_MAX);
    ConnectionLimits { all: all.clamp(EACH_MAX, MACHINES_MAX), each: EACH_MAX }
}

/// Beats for ever.
async fn beat_on(alive: impl Fn()) {
    loop {
        alive();
        tokio::time::sleep(BEAT_EVERY / 5).await;
    }
}

async fn over(mut ended: watch::Receiver<()>) {
    // An error is the sender's end, which is what is waited for.
    let _ = ended.changed().await;
}

impl Drop for Web {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
