//! Names and plain-old-data of the BPF maps. Both sides are built from this file, and the sizes are asserted.

use crate::rate_limit::{Rates, Source};

/// `BPF_MAP_TYPE_ARRAY` of one [`Config`].
pub const MAP_CONFIG: &str = "CONFIG";
/// `BPF_MAP_TYPE_PERCPU_ARRAY` of `u64`, indexed by [`Verdict::index`](crate::Verdict::index).
pub const MAP_COUNTERS: &str = "COUNTERS";
/// `BPF_MAP_TYPE_HASH` of [`TransferKey`] to [`Transfer`]: the transfers whose packets are redirected.
pub const MAP_TRANSFERS: &str = "TRANSFERS";
/// `BPF_MAP_TYPE_XSKMAP`: receive queue to AF_XDP socket.
pub const MAP_XSKS: &str = "XSKS";
/// `BPF_MAP_TYPE_ARRAY` of [`Progress`], mapped by user space: how far the kernel has come with each transfer.
pub const MAP_PROGRESS: &str = "PROGRESS";
/// `BPF_MAP_TYPE_ARRAY_OF_MAPS`, whose inner maps are arrays of [`Block`]: a file each, cut into blocks of one size.
pub const MAP_FILES: &str = "FILES";
/// `BPF_MAP_TYPE_LRU_HASH` of [`Source`] to `u64`: when its bucket is full, by `CLOCK_MONOTONIC` in
/// ns. A flood of invented sources pushes others out, who are admitted then: what is forgotten is as good as full.
pub const MAP_SOURCES: &str = "SOURCES";
/// Room in [`MAP_SOURCES`].
pub const SOURCES_MAX: u32 = 16384;
/// `BPF_MAP_TYPE_RINGBUF` of [`Copied`]: DHCP requests that were passed on to the host as well.
pub const MAP_COPIES: &str = "COPIES";

/// The XDP program.
pub const PROGRAM: &str = "pxed";
/// The same program for multi-buffer frames (`xdp.frags`, Linux 5.18): needed above an MTU of about 3.5 KB.
pub const PROGRAM_FRAGS: &str = "pxed_frags";

/// The same two with the kernel offload (Linux 5.18): ACKs of transfers in their steady state are answered at once.
pub const PROGRAM_OFFLOAD: &str = "pxed_offload";
/// See [`PROGRAM_OFFLOAD`] and [`PROGRAM_FRAGS`].
pub const PROGRAM_OFFLOAD_FRAGS: &str = "pxed_offload_frags";
/// The tcx program (Linux 6.6) that answers where a frame cannot grow in XDP.
pub const PROGRAM_TCX: &str = "pxed_tcx";

/// What becomes of the DHCP requests that we answer and that were sent to our address. Broadcasts are always copied.
pub mod dhcp_mode {
    /// Leave them to the host.
    pub const OFF: u32 = 0;
    /// Redirect them: nobody else on this host serves DHCP.
    pub const REDIRECT: u32 = 1;
    /// Copy them and pass them on: a DHCP server here, or behind a bridge here, needs them too.
    pub const COPY: u32 = 2;
}

/// What the kernel may answer by itself: bits of [`Config::offload`].
pub mod offload {
    /// The XDP program may answer.
    pub const XDP: u32 = 1;
    /// A tcx program is there for what is not answered in XDP.
    pub const TCX: u32 = 2;
    /// Answers leave by a redirect to the interface they came from, not by `XDP_TX`, which is lost on a native veth.
    pub const BY_REDIRECT: u32 = 4;
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
    /// Bits of [`offload`].
    pub offload: u32,
    /// The interface's index.
    pub ifindex: u32,
    /// One daemon hands over to the next (0 or 1): what would go to a socket that is not there is dropped instead of passed to
    /// the host, which would tell the client that the port is closed.
    pub hold: u32,
    /// How often a source may ask.
    pub rates: Rates,
}

/// The 4-tuple of a TFTP transfer, less our address, which is [`Config::address`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TransferKey {
    /// The client's IPv4 address, network byte order.
    pub client_addr: [u8; 4],
    /// The client's transfer identifier (TID, RFC 1350, section 4), network byte order.
    pub client_port: [u8; 2],
    /// Our TID, network byte order.
    pub server_port: [u8; 2],
}

/// What the kernel knows of a transfer beside its key. Constant for as long as the transfer is offloaded.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Index of its [`Progress`].
    pub slot: u32,
    /// Which of the transfers that this slot has seen: the kernel acts only while [`Progress::word`] names the same.
    /// 0 for a transfer that user space keeps for itself.
    pub generation: u32,
    /// Index in [`MAP_FILES`].
    pub file: u32,
    /// Number of the file's last block, the first being 1.
    pub last: u32,
    /// Blocks per window (RFC 7440), at most [`WINDOWSIZE_MAX`]; 1 is lock-step.
    pub windowsize: u32,
}

/// Most blocks that the kernel sends for one ACK. More in one go would overrun receivers: buffers that have grown count
/// double there. User space sends larger windows as fast.
pub const WINDOWSIZE_MAX: u32 = 16;

/// How far the kernel has come with a transfer. User space reads and writes it through a mapping, by atomics.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// See [`steady`](crate::steady): the transfer's generation and the last block that was sent; 0 while user space has it.
    pub word: u64,
    /// `CLOCK_MONOTONIC_COARSE` in ns when the kernel last answered.
    pub heard: u64,
    /// Whose transfer it is. The kernel compares: entries of [`MAP_TRANSFERS`] are used again at once, so that one may
    /// become another's while it is being read.
    pub key: TransferKey,
    /// The [`Block::tag`] of its file, for the same reason.
    pub tag: u32,
    /// 0.
    pub reserved: u32,
}

/// Room in [`MAP_FILES`].
pub const FILES_MAX: u32 = 1024;

/// Largest payload of a DATA packet that the kernel sends: opcode, block number and 1468 bytes.
pub const PAYLOAD_MAX: usize = 1472;

/// One block of a file, ready to be sent.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Which file this is: a place in [`MAP_FILES`] is given to another one in time.
    pub tag: u32,
    /// One's complement sum of the payload's 16-bit words as they lie in memory (RFC 1071).
    pub sum: u16,
    /// Length of the payload in bytes: 4 to [`PAYLOAD_MAX`].
    pub len: u16,
    /// The UDP payload: opcode 3, the block's number, the data. What follows `len` is 0.
    pub payload: [u8; PAYLOAD_MAX],
}

impl Block {
    /// What a place in [`MAP_FILES`] without a file holds.
    pub const NONE: Self = Self { tag: 0, sum: 0, len: 0, payload: [0; PAYLOAD_MAX] };
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

const _: () = assert!(size_of::<Config>() == 64);
const _: () = assert!(size_of::<Source>() == 12);
const _: () = assert!(size_of::<TransferKey>() == 8);
const _: () = assert!(size_of::<Transfer>() == 20);
const _: () = assert!(size_of::<Progress>() == 32);
// Array maps round their elements up to 8 bytes: there is nothing to round, so a mapping is a slice of blocks.
const _: () = assert!(size_of::<Block>() == 8 + PAYLOAD_MAX && size_of::<Block>().is_multiple_of(8));
const _: () = assert!(size_of::<Copied>() == 8 + COPIED_MAX);

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya asks for this promise about types that cross into the kernel")]
mod pod {
    use super::{Block, Config, Progress, Transfer, TransferKey};

    // SAFETY: `repr(C)`, only integers and arrays of them, no padding (sizes asserted above), `Copy`, 'static.
    unsafe impl aya::Pod for Config {}
    // SAFETY: as above.
    unsafe impl aya::Pod for TransferKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Transfer {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Progress {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Block {}
}
