//! What people and programs see: JSON, metrics, a live stream and a page, over a Unix socket and, if wanted, TCP; and what
//! machines may hand in.
//!
//! | file | noun |
//! |---|---|
//! | [`listen`] | sockets: where the API is reached, opened early so that errors show at start |
//! | [`serve`](mod@serve) | connections: how many, how slow |
//! | [`access`] | who may do what on which socket |
//! | `sessions` | browsers that have shown the token |
//! | `routes` | paths and what answers them |
//! | `read`, `write`, `events` | the answers |
//! | `chunks`, `pace` | the board as JSON, and how fast it is sent |
//! | [`problem`] | errors as JSON |
//! | `page` | the fleet's page |
//! | [`metrics`] | the same facts for Prometheus |
//! | `throughput` | bytes a second over the last minutes |
//! | [`machines`] | the other side: what machines post and upload |
//! | `receive` | the body of an upload, and how slow it may be |
//! | [`inbox`] | uploads on disk |
//! | [`client`] | the API as the command line uses it |

pub mod access;
mod chunks;
pub mod client;
mod events;
pub mod listen;
pub mod machines;
pub mod metrics;
mod pace;
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

use metrics::Metrics;
use pace::EventPacer;
use pxe_engine::gauges::Gauges;
use pxe_fleet::handle::FleetHandle;
use throughput::Throughput;

pub use listen::{ListenError, Listeners};
pub use serve::serve;

/// Viewers of the event stream at a time, on one listener.
pub const VIEWERS_MAX: usize = 64;
/// How long the fleet may take to answer a question.
const FLEET_WAIT: Duration = Duration::from_secs(10);

/// What the API answers from. Clones are cheap and show the same.
#[derive(Clone, Debug)]
pub struct Api {
    fleet: FleetHandle,
    gauges: Arc<ArcSwap<Gauges>>,
    metrics: Arc<Metrics>,
    throughput: Arc<Mutex<Throughput>>,
    viewers: Arc<Semaphore>,
    pace: EventPacer,
    /// Tells this process's revisions from those of the one before.
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
            pace: EventPacer::default(),
            instance: RandomState::new().build_hasher().finish(),
            started,
        }
    }

    /// What the servers count of themselves, for [`machines`], too.
    #[must_use]
    pub fn counts(&self) -> &metrics::Counts {
        &self.metrics.counts
    }
}
