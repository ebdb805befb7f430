//! HTTP: the API for this host, the page, and files and reports on the machines' network. It has a thread and a runtime of its own,
//! so that no HTTP client can delay a worker or the supervisor.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use tokio::sync::watch;

use super::confined::ThreadPermit;
use super::gauge_collector::GaugeCollector;
use super::reload::LiveConfig;
use super::thread_deps::{beats, neighbour};
use crate::config::Settings;
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

/// The most connections of machines at a time on each interface, if there are enough descriptors.
const MACHINES_MAX: usize = 4096;
/// The connections that one address has in any case. iPXE uses one, firmware two.
const EACH_MAX: usize = 16;

/// All listening sockets, and the inbox. They are opened before a program is attached.
pub(super) struct WebListeners {
    api: Option<Listeners>,
    machines: Vec<(TcpListener, ServedAt)>,
    pub(super) inbox: Option<Arc<Inbox>>,
}

impl WebListeners {
    /// Opens the API's sockets and the inbox.
    ///
    /// # Errors
    /// What cannot be opened, with the remedy. If the default path of the API's socket is taken, there is only a warning.
    pub(super) fn open(settings: &Settings) -> Result<Self> {
        let token = match settings.board.as_ref().and_then(|board| board.token_file.as_ref()) {
            Some(path) => Some(Arc::new(Token::read(path)?)),
            None => None,
        };
        let listen = settings.board.as_ref().map(|board| board.listen);
        let path = settings.socket.as_deref().unwrap_or(Path::new(SOCKET));
        let api = match Listeners::bind(path, listen, token) {
            Ok(listeners) => Some(listeners),
            Err(error) if settings.socket.is_none() && listen.is_none() => {
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
        let inbox = match &settings.inbox {
            Some(inbox) => {
                let quota = Quota { file: inbox.file, machine: inbox.machine, total: inbox.total };
                let opened = Inbox::open(&inbox.directory, quota);
                Some(opened.with_context(|| format!("cannot use the inbox {}", inbox.directory.display()))?)
            }
            None => None,
        };
        Ok(Self { api, machines: Vec::new(), inbox })
    }

    /// Listens on an interface's address, for machines.
    ///
    /// # Errors
    /// When the port is taken.
    pub(super) fn add(&mut self, address: Ipv4Addr, port: u16) -> Result<()> {
        let to = SocketAddrV4::new(address, port);
        let listener = listen(to).with_context(|| {
            format!("cannot serve HTTP on {to}: give another port, or stop the program that uses it")
        })?;
        self.machines.push((listener, ServedAt { server: address, http: Some(port) }));
        Ok(())
    }
}

/// Listens with room for all machines of a lab that are switched on together. The standard library asks for 128 places;
/// further clients would wait a second or more until they repeat their SYN.
fn listen(to: SocketAddrV4) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(to)?;
    // A second call changes the backlog (listen(2)). The kernel lowers it to `net.core.somaxconn`.
    rustix::net::listen(&listener, MACHINES_MAX as i32)?;
    Ok(listener)
}

/// The thread of HTTP. Dropping this ends it.
pub(super) struct Web {
    end: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    /// Starts the thread, which answers from then on.
    pub(super) fn start(
        permit: ThreadPermit,
        listeners: WebListeners,
        fleet: &FleetHandle,
        live: &LiveConfig,
        gauges: &GaugeCollector,
        (clock, heartbeats): (Clock, &Heartbeats),
    ) -> Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = permit
            .runtime(builder.worker_threads(2).thread_name("pxed-http").enable_all())
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
        Ok(Self { end: Some(end), thread: Some(permit.spawn("pxed-web", run)?) })
    }
}

/// The limits for the connections of machines. A connection has two descriptors, and half of all descriptors are for other uses.
/// Half of the connections are for addresses that have many: routers with NAT.
fn most() -> ConnectionLimits {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let all = limit.and_then(|limit| usize::try_from(limit / 4).ok()).unwrap_or(MACHINES_MAX);
    let all = all.clamp(EACH_MAX, MACHINES_MAX);
    ConnectionLimits { all, each: EACH_MAX, beyond: all / 2 }
}

/// Gives signs of life for ever.
async fn beat_on(alive: impl Fn()) {
    loop {
        alive();
        tokio::time::sleep(BEAT_EVERY).await;
    }
}

async fn over(mut ended: watch::Receiver<()>) {
    // The sender is dropped at the end, which is an error here.
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

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpStream};
    use std::time::Duration;

    use super::*;

    #[test]
    fn many_machines_can_connect_before_the_first_is_accepted() {
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let count = most.trim().parse::<usize>().unwrap().min(500);
        let listener = listen(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let SocketAddr::V4(to) = listener.local_addr().unwrap() else { panic!("IPv4") };
        let connect = |_| TcpStream::connect_timeout(&to.into(), Duration::from_secs(10));
        let streams: std::io::Result<Vec<_>> = (0..count).map(connect).collect();
        assert_eq!(streams.unwrap().len(), count);
    }
}
