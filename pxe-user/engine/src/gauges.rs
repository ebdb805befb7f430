//! What the daemon shows of itself, several times a second: for metrics and for the picture of the fleet.

use std::net::Ipv4Addr;

/// One interface.
#[derive(Clone, Debug, Default)]
pub struct InterfaceGauges {
    /// Its name.
    pub name: String,
    /// The address that machines load files from.
    pub address: Option<Ipv4Addr>,
    /// `xdp` or `socket`.
    pub datapath: &'static str,
    /// `native`, `generic`, or nothing.
    pub mode: &'static str,
    /// What the kernel answers by itself: `xdp, tcx`, `off` and so on.
    pub offload: &'static str,
    /// Receive queues, each with a worker.
    pub queues: u32,
    /// Every counter of the workers by its label, summed: see [`crate::counters`].
    pub counters: Vec<(&'static str, u64)>,
    /// Every counter of the kernel program by its label.
    pub kernel: Vec<(&'static str, u64)>,
    /// Transfers under way.
    pub transfers: u64,
    /// Requests that wait for a slot.
    pub waiting: u64,
    /// Bytes of files in the kernel.
    pub offload_bytes: u64,
}

/// The daemon.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// The interfaces that are served.
    pub interfaces: Vec<InterfaceGauges>,
    /// Whether everything is set up and answers.
    pub ready: bool,
    /// Threads that hang, by their names.
    pub hanging: Vec<String>,
    /// Bytes of boot files in memory.
    pub image_bytes: u64,
    /// Bytes of files sent over HTTP.
    pub http_bytes: u64,
    /// How often rules were loaded well since the start.
    pub reloads: u64,
    /// Why the last attempt to reload the configuration was refused, if it was.
    pub config_problem: Option<String>,
    /// Why the work of the daemon before this one was not gone on with, if it was left and refused.
    pub hand_over_refused: Option<&'static str>,
}
