//! What people and programs see: JSON, metrics, a live stream and a page, over a Unix socket and, if wanted, TCP; and what
//! machines may hand in.
//!
//! | file | noun |
//! |---|---|
//! | [`listen`] | sockets: where the API is reached, opened early so that errors show at start |
//! | [`serve`](mod@serve) | connections: how many, how slow |
//! | [`access`] | who may do what on which socket |
//! | `routes` | paths and what answers them |
//! | `read`, `write`, `events` | the answers |
//! | [`problem`] | errors as JSON |
//! | `chunks`, `pace` | the board as JSON, and how fast it is sent |
//! | `page` | the fleet's page |
//! | [`metrics`] | the same facts for Prometheus |
//! | `throughput` | bytes a second over the last minutes |
//! | [`machines`] | the other side: what machines post and upload |
//! | [`inbox`] | uploads on disk |
//! | `receive` | the body of an upload, and how slow it may be |
//! | [`client`] | the API as the command line uses it |

pub mod access;
pub mod client;
mod events;
mod chunks;
pub mod inbox;
pub mod listen;
pub mod machines;
pub mod metrics;
mod page;
pub mod problem;
mod pace;
mod read;
mod routes;
mod receive;
pub mod serve;
mod throughput;
mod write;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::fleet::handle::FleetHandle;
use crate::gauges::Gauges;
use metrics::Metrics;
use throughput::Throughput;

pub use listen::{ListenError, Listeners};
pub use serve::serve;
use pace::Pace;

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
    /// Tells this process's revisions from those of the one before.
    instance: u64,
    started: Instant,
}
    pace: Pace,

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
            instance: RandomState::new().build_hasher().finish(),
            started,
        }
    }
            pace: Pace::default(),

    /// What the servers count of themselves, for [`machines`], too.
    #[must_use]
    pub fn counts(&self) -> &metrics::Counts {
        &self.metrics.counts
    }
}
