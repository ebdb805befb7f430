//! Names and plain-old-data of the BPF maps. Both sides are built from this file, and the sizes are asserted.

/// `BPF_MAP_TYPE_ARRAY` of one [`Config`].
pub const MAP_CONFIG: &str = "CONFIG";
/// `BPF_MAP_TYPE_PERCPU_ARRAY` of `u64`, indexed by [`Verdict::index`](crate::Verdict::index).
pub const MAP_COUNTERS: &str = "COUNTERS";
/// `BPF_MAP_TYPE_HASH` of [`TransferKey`] to [`Transfer`]: the transfers whose packets are redirected.
pub const MAP_TRANSFERS: &str = "TRANSFERS";
/// `BPF_MAP_TYPE_XSKMAP`: receive queue to AF_XDP socket.
pub const MAP_XSKS: &str = "XSKS";
/// `BPF_MAP_TYPE_RINGBUF` of [`Copied`]: DHCP requests that were passed on to the host as well.
pub const MAP_COPIES: &str = "COPIES";

/// The XDP program.
pub const PROGRAM: &str = "pxed";
/// The same program for multi-buffer frames (`xdp.frags`, Linux 5.18): needed above an MTU of about 3.5 KB.
pub const PROGRAM_FRAGS: &str = "pxed_frags";

/// The load generator's program: every frame to the socket of its queue.
pub const PROGRAM_TAKE_ALL: &str = "take_all";
/// The benchmark's yardstick: every frame back.
pub const PROGRAM_REFLECT: &str = "reflect";

/// What becomes of the DHCP requests that we answer and that were sent to our address. Broadcasts are always copied.
pub mod dhcp_mode {
    /// Leave them to the host.
    pub const OFF: u32 = 0;
    /// Redirect them: nobody else on this host serves DHCP.
    pub const REDIRECT: u32 = 1;
    /// Copy them and pass them on: a DHCP server here, or behind a bridge here, needs them too.
    pub const COPY: u32 = 2;
}

/// What the classifier must know of the interface it runs on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Our IPv4 address on the interface, in network byte order as it stands in a header.
    pub address: [u8; 4],
    /// The subnet's broadcast address, in network byte order; 255.255.255.255 where there is none.
    pub broadcast: [u8; 4],
    /// One of [`dhcp_mode`].
    pub dhcp_mode: u32,
    /// Whether requests to TFTP's port 69 on our address are redirected (0 or 1).
    pub tftp: u32,
    /// First port that transfers use on our side, host byte order.
    pub tid_first: u16,
    /// Last such port. Packets to other ports are never looked up, so other traffic pays nothing.
    pub tid_last: u16,
}

/// The 4-tuple of a TFTP transfer, less our address, which is [`Config::address`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransferKey {
    /// The client's IPv4 address, network byte order.
    pub client_addr: [u8; 4],
    /// The client's transfer identifier (TID, RFC 1350, section 4), network byte order.
    pub client_port: [u8; 2],
    /// Our TID, network byte order.
    pub server_port: [u8; 2],
}

/// What the kernel knows of a transfer beside its key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Slot in user space's table, for tracing only: the kernel never trusts it.
    pub slot: u32,
}

/// Room for one copied frame: the largest DHCP request without fragments, with two tags.
pub const COPIED_MAX: usize = 1536;

/// A DHCP request in the ring buffer [`MAP_COPIES`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Copied {
    /// Length of the frame in `bytes`.
    pub len: u32,
    /// Receive queue it came from.
    pub queue: u32,
    /// The frame, from its Ethernet header on; undefined past `len`.
    pub bytes: [u8; COPIED_MAX],
}

const _: () = assert!(size_of::<Config>() == 20);
const _: () = assert!(size_of::<TransferKey>() == 8);
const _: () = assert!(size_of::<Transfer>() == 4);
const _: () = assert!(size_of::<Copied>() == 8 + COPIED_MAX);

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya asks for this promise about types that cross into the kernel")]
mod pod {
    use super::{Config, Transfer, TransferKey};

    // SAFETY: `repr(C)`, only integers and arrays of them, no padding (sizes asserted above), `Copy`, 'static.
    unsafe impl aya::Pod for Config {}
    // SAFETY: as above.
    unsafe impl aya::Pod for TransferKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Transfer {}
}
