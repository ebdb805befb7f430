//! The API for people and programs: JSON, metrics, a live event stream and a page, over a Unix socket and, if
//! configured, TCP. Also the paths under which machines send reports and uploads.
//!
//! | file | contents |
//! |---|---|
//! | [`listen`] | the sockets of the API, opened early so that errors show at start |
//! | [`serve`](mod@serve) | connections: limits of number and time |
//! | [`access`] | which requests each socket accepts |
//! | `sessions` | browsers that have shown the token |
//! | `routes` | paths and their handlers |
//! | `read`, `write`, `events` | the handlers |
//! | `chunks`, `board_pacer` | the board as JSON, and the rate at which it is sent |
//! | [`problem`] | errors as JSON |
//! | `page` | the dashboard's files |
//! | [`metrics`] | the same facts for Prometheus |
//! | `throughput` | bytes a second over the last ten minutes |
//! | [`machines`] | the paths for machines: reports and uploads |
//! | `receive` | the body of an upload, and its least rate |
//! | [`client`] | the client that the command line uses |
//!
//! Uploads are stored by [`pxe_content::inbox`].

pub mod access;
mod board_pacer;
mod chunks;
pub mod client;
mod connection_limits;
mod events;
pub mod listen;
pub mod machines;
pub mod metrics;
mod page;
pub mod problem;
mod read;
mod receive;
mod routes;
pub mod serve;
mod sessions;
mod throughput;
mod write;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use board_pacer::BoardPacer;
use metrics::Metrics;
use pxe_engine::gauges::Gauges;
use pxe_fleet::handle::FleetHandle;
use throughput::Throughput;

pub use listen::{ListenError, Listeners};
pub use serve::serve;

/// Viewers that may follow the event stream of one listener at the same time.
pub const VIEWERS_MAX: usize = 64;
/// How long a request waits for the fleet's thread.
const FLEET_WAIT: Duration = Duration::from_secs(10);

/// The state behind the API. Clones are cheap and share it.
#[derive(Clone, Debug)]
pub struct Api {
    fleet: FleetHandle,
    gauges: Arc<ArcSwap<Gauges>>,
    metrics: Arc<Metrics>,
    throughput: Arc<Mutex<Throughput>>,
    viewers: Arc<Semaphore>,
    pace: BoardPacer,
    /// A random number in entity tags: it distinguishes this process's revisions of the board from a previous
    /// process's.
    instance: u64,
    started: Instant,
}

impl Api {
    /// An API over a fleet and the daemon's gauges.
    #[must_use]
    pub fn new(fleet: FleetHandle, gauges: Arc<ArcSwap<Gauges>>) -> Self {
        let started = Instant::now();
        Self {
            metrics: Arc::new(Metrics::new(fleet.clone(), Arc::clone(&gauges), started)),
            fleet,
            gauges,
            throughput: Arc::default(),
            viewers: Arc::new(Semaphore::new(VIEWERS_MAX)),
            pace: BoardPacer::default(),
            instance: RandomState::new().build_hasher().finish(),
            started,
        }
    }

    /// The counters that all HTTP servers share, also the one for [`machines`].
    #[must_use]
    pub fn counts(&self) -> &metrics::Counts {
        &self.metrics.counts
    }
}
