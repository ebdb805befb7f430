//! Accepts connections, and limits their number, their slowness and, at the end, their remaining time.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use super::access::ListenerAccess;
pub use super::connection_limits::ConnectionLimits;
use super::connection_limits::{PeerConnection, Peers};
use super::metrics::{Counts, Refused};
use super::{Api, Listeners, metrics, throughput};
use pxe_nic::tcp::{self, Delivery};

/// Connections that one listener of the API has at the same time. A flood of the board's address does not lock out the
/// Unix socket.
pub const CONNECTIONS_MAX: usize = 256;
/// Within this time the head of a request must be complete, and the next request of the connection must begin.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// A connection is closed when the peer accepts no bytes for this long.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest head of a request, in bytes.
const HEAD_MAX: usize = 16 * 1024;
/// At shutdown, how long running requests may take to finish.
const GRACE: Duration = Duration::from_secs(1);

/// Serves the API until `shutdown` completes. Also runs the API's own tasks (metrics, throughput).
///
/// # Errors
/// When a listener cannot be registered with the runtime.
pub async fn serve(api: Api, listeners: Listeners, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let unix = UnixListener::from_std(listeners.unix.try_clone()?)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(throughput::run(api.clone()));
    tasks.spawn(metrics::follow(api.fleet.clone(), Arc::clone(&api.metrics)));
    let (end, ended) = watch::channel(());
    let counts = api.counts().clone();
    let unix = accept(
        Listener::Unix(unix),
        api.router(ListenerAccess::Local),
        counts.clone(),
        "unix",
        ConnectionLimits::of_all(CONNECTIONS_MAX),
        ended.clone(),
    );
    let tcp = match &listeners.tcp {
        Some((listener, access)) => {
            let listener = Listener::Tcp(TcpListener::from_std(listener.try_clone()?)?);
            Some(accept(
                listener,
                api.router(access.clone()),
                counts,
                "board",
                ConnectionLimits::of_all(CONNECTIONS_MAX),
                ended,
            ))
        }
        None => None,
    };
    let tcp = async {
        if let Some(tcp) = tcp {
            tcp.await;
        }
    };
    let shutdown = async {
        shutdown.await;
        drop(end);
    };
    tokio::join!(unix, tcp, shutdown);
    drop(listeners);
    Ok(())
}

/// Serves another router, for example [`super::machines::router`], with the same limits of time and size. Handlers get
/// the peer's address as [`ConnectInfo`], and the connection as [`Socket`]. `name` is the listener's label in metrics;
/// `most` limits the number of connections.
///
/// # Errors
/// When the listener cannot be registered with the runtime.
pub async fn serve_tcp(
    listener: std::net::TcpListener,
    router: Router,
    counts: Counts,
    name: &'static str,
    most: ConnectionLimits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = Listener::Tcp(TcpListener::from_std(listener)?);
    let (end, ended) = watch::channel(());
    let shutdown = async {
        shutdown.await;
        drop(end);
    };
    tokio::join!(accept(listener, router, counts, name, most, ended), shutdown);
    Ok(())
}

/// The TCP connection of a request, for handlers that need its delivery state.
#[derive(Clone, Debug)]
pub struct Socket(Arc<OwnedFd>);

impl Socket {
    /// How many of the connection's bytes were sent and acknowledged.
    ///
    /// # Errors
    /// The system's error.
    pub fn delivery(&self) -> io::Result<Delivery> {
        tcp::delivery(&*self.0)
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

impl Listener {
    async fn accept(&self) -> io::Result<(Pin<Box<dyn Stream>>, Option<(SocketAddr, Socket)>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Events are small and should arrive without delay.
                let _ = stream.set_nodelay(true);
                let socket = Socket(Arc::new(stream.as_fd().try_clone_to_owned()?));
                Ok((Box::pin(stream), Some((peer, socket))))
            }
            Self::Unix(listener) => Ok((Box::pin(listener.accept().await?.0), None)),
        }
    }
}

/// Accepts connections until the sender of `ended` is dropped.
async fn accept(
    listener: Listener,
    router: Router,
    counts: Counts,
    name: &'static str,
    most: ConnectionLimits,
    mut ended: watch::Receiver<()>,
) {
    let places = Arc::new(Semaphore::new(most.all));
    let peers = Peers::new(most);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = ended.changed() => break,
            // Removes connections that have ended from the set. Their result is empty.
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // The process may be out of file descriptors. An immediate retry would only burn CPU time.
                tracing::debug!("cannot take a connection on {name}: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            counts.refused(Refused::Connections);
            continue;
        };
        let Some(turn) = peers.admit(peer.as_ref().map(|(peer, _)| peer.ip())) else {
            counts.refused(Refused::Peer);
            continue;
        };
        let counted = counts.connection(name);
        let router = match peer {
            Some((peer, socket)) => {
                router.clone().layer(axum::Extension(ConnectInfo(peer))).layer(axum::Extension(socket))
            }
            None => router.clone(),
        };
        connections.spawn(connection(stream, router, (place, counted, turn), ended.clone()));
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GRACE, all).await;
}

async fn connection(
    stream: Pin<Box<dyn Stream>>,
    router: Router,
    _place: (OwnedSemaphorePermit, metrics::Counted, PeerConnection),
    mut ended: watch::Receiver<()>,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let mut builder = http1::Builder::new();
    // GRUB's http module, and GRUB over EDK2's HTTP driver, compare `Content-Length` case-sensitively, against RFC
    // 9110, section 5.1.
    builder.title_case_headers(true);
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_MAX).max_headers(64);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(Box::pin(stream)), service));
    tokio::select! {
        // A peer that disconnects is not an error.
        _ = connection.as_mut() => {}
        _ = ended.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::time::Instant;

    use super::*;

    /// A reader that accepts no bytes occupies its connection for half a minute. Then the connection is closed, however
    /// much is left to send.
    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_cut_off() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let router = Router::new().route("/", axum::routing::get(async || vec![0; 1 << 20]));
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let held = (place, Counts::default().connection("machines"), PeerConnection::uncounted());
        theirs.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let (_end, ended) = watch::channel(());
        let began = Instant::now();
        let served = connection(Box::pin(ours), router, held, ended);
        // The time is simulated: it advances when no task can run.
        tokio::time::timeout(WRITE_TIMEOUT * 10, served).await.expect("it is cut off");
        assert_eq!(began.elapsed().as_secs(), WRITE_TIMEOUT.as_secs());
        assert_eq!(places.available_permits(), 1);
    }
}
