//! Metrics for Prometheus, as OpenMetrics text. The number of label values is bounded: no label holds a machine, a name
//! or a file.
//!
//! | file | contents |
//! |---|---|
//! | `shown` | gauges and counters read from the daemon and the board at each scrape |
//! | [`counts`] | counters of the HTTP servers |
//! | [`course`] | sums over changes of the board |

pub mod counts;
pub mod course;
mod shown;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use course::Course;
use pxe_engine::gauges::Gauges;
use pxe_fleet::handle::FleetHandle;

pub use counts::{Counted, Counts, Refused};
pub(super) use course::follow;

/// A label set with one label: name and value.
type Label = [(&'static str, &'static str); 1];

/// All metrics that a scrape returns.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// The counters of the HTTP servers.
    pub counts: Counts,
    pub(super) course: Course,
}

impl Metrics {
    pub(super) fn new(fleet: FleetHandle, gauges: Arc<ArcSwap<Gauges>>, started: Instant) -> Self {
        let mut registry = Registry::with_prefix("pxed");
        let (counts, course) = (Counts::default(), Course::default());
        counts.register(&mut registry);
        course.register(&mut registry);
        registry.register_collector(Box::new(shown::Shown { fleet, gauges, started }));
        Self { registry, counts, course }
    }

    /// All metrics as OpenMetrics text.
    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut out = String::with_capacity(32 * 1024);
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}
