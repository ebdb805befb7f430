//! What the daemon shows of itself: read from the workers' counters and the kernel's several times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::open_interface::offload_words;
use super::reload::LiveConfig;
use super::served_interface::ServedInterface;
use pxe_engine::gauges::{Gauges, InterfaceGauges};
use pxe_nic::programs::Mode;

/// What is shown, and what only this side knows.
#[derive(Clone, Debug, Default)]
pub(super) struct GaugeCollector {
    pub(super) shown: Arc<ArcSwap<Gauges>>,
    /// Bytes of files sent over HTTP.
    pub(super) http_bytes: Arc<AtomicU64>,
    /// Threads that hang.
    pub(super) hanging: Vec<String>,
    /// How often applied the changed configuration well.
    pub(super) reloads: u64,
    /// Why the last attempt was refused.
    pub(super) config_problem: Option<String>,
    /// Why what a predecessor left was refused.
    pub(super) hand_over_refused: Option<&'static str>,
}

impl GaugeCollector {
    /// Shows everything as it is now.
    pub(super) fn show(&self, served: &[ServedInterface], live: &LiveConfig) {
        self.shown.store(Arc::new(Gauges {
            interfaces: served.iter().map(interface).collect(),
            ready: true,
            hanging: self.hanging.clone(),
            image_bytes: live.catalogue.load().memory_used(),
            http_bytes: self.http_bytes.load(Ordering::Relaxed),
            reloads: self.reloads,
            config_problem: self.config_problem.clone(),
            hand_over_refused: self.hand_over_refused,
        }));
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
