//! Collects what `/metrics` and the board show of the daemon itself: twice a second while values change, from the counters of workers and kernel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::kernel_config::offload_words;
use super::reload::LiveConfig;
use super::served_interface::ServedInterface;
use pxe_engine::gauges::{Gauges, InterfaceGauges};
use pxe_nic::programs::Mode;

/// The published gauges, and the values that only the supervisor knows.
#[derive(Clone, Debug, Default)]
pub(super) struct GaugeCollector {
    pub(super) shown: Arc<ArcSwap<Gauges>>,
    /// Bytes of files sent over HTTP.
    pub(super) http_bytes: Arc<AtomicU64>,
    /// Threads that hang.
    pub(super) hanging: Vec<String>,
    /// How many times a changed configuration was applied.
    pub(super) reloads: u64,
    /// Why the last changed configuration was rejected. `None` if it was applied.
    pub(super) config_problem: Option<String>,
    /// This responder's name. `None` if it shares nothing with others.
    pub(super) responder: Option<String>,
    /// Which other proxyDHCP servers answer here, with the remedy. `None` if none does.
    pub(super) foreign_proxies: Option<String>,
    /// Why the state of a predecessor was refused, if it was.
    pub(super) hand_over_refused: Option<&'static str>,
}

impl GaugeCollector {
    /// Publishes the present values. Returns whether they differ from those that were published before.
    pub(super) fn show(&self, served: &[ServedInterface], live: &LiveConfig) -> bool {
        let gauges = Gauges {
            interfaces: served.iter().map(interface).collect(),
            ready: true,
            hanging: self.hanging.clone(),
            image_bytes: live.catalogue.load().memory_used(),
            http_bytes: self.http_bytes.load(Ordering::Relaxed),
            reloads: self.reloads,
            config_problem: self.config_problem.clone(),
            responder: self.responder.clone(),
            segment: live.segment_gauges(),
            foreign_proxies: self.foreign_proxies.clone(),
            images: live.images.load().to_vec(),
            hand_over_refused: self.hand_over_refused,
        };
        let has_changed = **self.shown.load() != gauges;
        self.shown.store(Arc::new(gauges));
        has_changed
    }
}

fn interface(served: &ServedInterface) -> InterfaceGauges {
    let (mut transfers, mut waiting) = (0, 0);
    for published in &served.published {
        let (active, more) = published.load();
        transfers += active;
        waiting += more;
    }
    InterfaceGauges {
        name: served.plan.interface.name.clone(),
        address: Some(served.plan.subnet.address),
        datapath: if served.programs.is_some() { "xdp" } else { "socket" },
        mode: served.mode.map_or("", Mode::as_str),
        offload: offload_words(served.offload),
        queues: u32::try_from(served.published.len()).unwrap_or(u32::MAX),
        counters: served.counters(),
        kernel: served.kernel_counters(),
        transfers,
        waiting,
        offload_bytes: served.cache.as_ref().map_or(0, |cache| cache.used()),
    }
}
