//! The daemon's present state. The supervisor collects it several times a second, for metrics and for the
//! board of the fleet.

use std::net::Ipv4Addr;

/// The state of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceGauges {
    /// The interface's name.
    pub name: String,
    /// Our address, from which machines load files. `None` if the interface has none.
    pub address: Option<Ipv4Addr>,
    /// The datapath: `xdp` or `socket`.
    pub datapath: &'static str,
    /// The XDP mode: `native` or `generic`; empty for sockets.
    pub mode: &'static str,
    /// The layers in which the kernel answers ACKs without the daemon: `xdp, tcx`, `off` and so on.
    pub offload: &'static str,
    /// Number of receive queues that have a worker.
    pub queues: u32,
    /// Every counter of the workers by its label, summed over the workers: see [`crate::counters`].
    pub counters: Vec<(&'static str, u64)>,
    /// Every counter of the kernel program by its label. Empty for sockets.
    pub kernel: Vec<(&'static str, u64)>,
    /// Number of running transfers.
    pub transfers: u64,
    /// Number of requests that wait for a slot.
    pub waiting: u64,
    /// Size of all boot files in the kernel, in bytes.
    pub offload_bytes: u64,
}

/// The segment, if it is shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentGauges {
    /// The segment's name.
    pub name: String,
    /// Which share of the machines is this responder's, in a sentence.
    pub share: String,
    /// Why its responders cannot be known now, what pxed does meanwhile, and the remedy. `None` if they are known.
    pub problem: Option<String>,
}

/// An image that comes from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageGauges {
    /// The image's name.
    pub name: String,
    /// The folder of its files.
    pub source: String,
    /// The number of its files that pxed has. 0: it is not here yet.
    pub files: u64,
    /// How often a new version was complete since the start.
    pub fetched: u64,
    /// How often it could not be fetched since the start, by reason.
    pub failures: Vec<(&'static str, u64)>,
    /// The label of the present problem. `None` if the last look worked.
    pub reason: Option<&'static str>,
    /// Why it cannot be fetched now, the remedy, and what machines get meanwhile. `None` if the last look worked.
    pub problem: Option<String>,
}

/// The state of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// The interfaces that pxed serves.
    pub interfaces: Vec<InterfaceGauges>,
    /// Whether the daemon has started completely and answers requests.
    pub ready: bool,
    /// Names of the threads that hang: see [`crate::heartbeat`].
    pub hanging: Vec<String>,
    /// Size of all boot files in memory, in bytes.
    pub image_bytes: u64,
    /// Bytes of boot files sent over HTTP since the start.
    pub http_bytes: u64,
    /// Number of successful reloads of the configuration since the start.
    pub reloads: u64,
    /// Why the last reload of the configuration was refused. `None` if it was not.
    pub config_problem: Option<String>,
    /// This responder's name in the shared ledger and on the segment. `None` if it is alone.
    pub responder: Option<String>,
    /// With whom the segment is shared. `None` if it is not.
    pub segment: Option<SegmentGauges>,
    /// Which other proxyDHCP servers answer machines here, and the remedy. `None` if none was seen.
    pub foreign_proxies: Option<String>,
    /// The images that come from elsewhere.
    pub images: Vec<ImageGauges>,
    /// Why this daemon did not resume the state that the previous daemon handed over. `None` if it did, or if
    /// there was no such state.
    pub hand_over_refused: Option<&'static str>,
}
