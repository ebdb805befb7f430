//! The same facts for Prometheus, as OpenMetrics text. Labels are of a bounded number: never a machine, a name or a file.
//!
//! | file | noun |
//! |---|---|
//! | `shown` | what the daemon and the board show at the moment of the scrape |
//! | [`counts`] | what the servers count of themselves |
//! | [`course`] | what changes of the board add up to |

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

/// A label set with one name.
type Label = [(&'static str, &'static str); 1];

/// Everything that a scrape shows.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// What the servers count.
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

    /// All of it, as OpenMetrics text.
    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut out = String::with_capacity(32 * 1024);
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}
