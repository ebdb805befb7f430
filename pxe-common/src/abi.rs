//! The ABI between the kernel programs and the daemon: the names of the BPF maps and programs, and the
//! plain-old-data in the maps.
//!
//! Both sides are compiled from this file. Assertions at its end fix the size of each type, so that neither
//! side sees padding or another layout.

use crate::rate_limit::{Rates, Source};

/// `BPF_MAP_TYPE_ARRAY` with one [`Config`]. The daemon writes it.
pub const MAP_CONFIG: &str = "CONFIG";
/// `BPF_MAP_TYPE_PERCPU_ARRAY` of `u64`, indexed by [`Verdict::index`](crate::Verdict::index): how often each
/// verdict occurred.
pub const MAP_COUNTERS: &str = "COUNTERS";
/// `BPF_MAP_TYPE_HASH` from [`TransferKey`] to `u32`, the index of the transfer's [`Progress`]: the transfers
/// whose packets the XDP program redirects to the daemon.
pub const MAP_TRANSFERS: &str = "TRANSFERS";
/// `BPF_MAP_TYPE_XSKMAP` from the number of a receive queue to its AF_XDP socket.
pub const MAP_XSKS: &str = "XSKS";
/// `BPF_MAP_TYPE_ARRAY` of [`Progress`], which user space maps into its memory: how far the kernel has come
/// with each transfer.
pub const MAP_PROGRESS: &str = "PROGRESS";
/// `BPF_MAP_TYPE_ARRAY` of `u32`, which user space maps into its memory: an index of a [`Progress`] for each
/// [`TransferKey::hash`]. It saves the kernel most lookups in [`MAP_TRANSFERS`], each of which costs four calls.
///
/// Each entry is a hint that may be wrong: the last transfer with this hash has it, and [`Progress::key`] says
/// whether it is the one that the kernel looks for. If not, the kernel asks [`MAP_TRANSFERS`].
pub const MAP_HINTS: &str = "HINTS";
/// The number of entries in [`MAP_HINTS`] less one, which is a mask: a constant of the programs.
pub const HINTS_MASK: &str = "HINTS_MASK";
/// `BPF_MAP_TYPE_ARRAY_OF_MAPS`. Each inner map is an array of [`Block`] and holds one file, cut into blocks
/// of one size.
pub const MAP_FILES: &str = "FILES";
/// `BPF_MAP_TYPE_LRU_HASH` from [`Source`] to `u64`: the time at which the source's token bucket is full
/// again, by `CLOCK_MONOTONIC` in ns.
///
/// A flood of forged sources evicts other entries. An evicted source counts as one with a full bucket, so its
/// next request is admitted.
pub const MAP_SOURCES: &str = "SOURCES";
/// Largest number of entries in [`MAP_SOURCES`].
pub const SOURCES_MAX: u32 = 16384;
/// `BPF_MAP_TYPE_ARRAY` with one [`Ranks`](crate::segment::Ranks): which broadcasts this responder answers. The daemon
/// writes it.
pub const MAP_RANKS: &str = "RANKS";
/// `BPF_MAP_TYPE_LRU_HASH` from [`asked_key`] to `u64`, an [`Asked`](crate::segment::Asked) by `CLOCK_MONOTONIC`: how
/// often machines of other responders have asked.
///
/// A flood of forged addresses evicts other entries. A machine whose entry is evicted counts as one that has not
/// asked before, unless its `secs` says otherwise.
pub const MAP_ASKED: &str = "ASKED";
/// Largest number of entries in [`MAP_ASKED`].
pub const ASKED_MAX: u32 = 16384;
/// `BPF_MAP_TYPE_RINGBUF` of [`Copied`]: copies of DHCP requests that the XDP program also passes on to the
/// host.
pub const MAP_COPIES: &str = "COPIES";

/// The XDP program without the kernel offload, for frames in one buffer.
pub const PROGRAM: &str = "pxed";
/// The same program for multi-buffer frames (`xdp.frags`, Linux 5.18). Interfaces with an MTU above about 3.5
/// KB need it.
pub const PROGRAM_FRAGS: &str = "pxed_frags";

/// [`PROGRAM`] with the kernel offload (Linux 5.18): the program itself answers ACKs of transfers in their
/// steady state.
pub const PROGRAM_OFFLOAD: &str = "pxed_offload";
/// [`PROGRAM_FRAGS`] with the kernel offload: see [`PROGRAM_OFFLOAD`].
pub const PROGRAM_OFFLOAD_FRAGS: &str = "pxed_offload_frags";
/// The tcx program (Linux 6.6). It answers ACKs where a frame cannot grow in XDP.
pub const PROGRAM_TCX: &str = "pxed_tcx";

/// What the XDP program does with a DHCP request that pxed answers and that was sent to pxed's own address.
/// Broadcasts are always copied, unless the mode is [`OFF`](dhcp_mode::OFF).
pub mod dhcp_mode {
    /// Pass all DHCP requests to the host only.
    pub const OFF: u32 = 0;
    /// Redirect the request to the daemon: no other process on this host serves DHCP.
    pub const REDIRECT: u32 = 1;
    /// Copy the request to the daemon and pass it on: a DHCP server on this host, or behind a bridge on it,
    /// needs the request too.
    pub const COPY: u32 = 2;
}

/// Bits of [`Config::offload`]: which ACKs the kernel may answer by itself.
pub mod offload {
    /// The XDP program may answer ACKs.
    pub const XDP: u32 = 1;
    /// A tcx program is attached and answers what the XDP program leaves to it.
    pub const TCX: u32 = 2;
    /// The XDP program sends answers by a redirect to the interface that received the ACK, and not by
    /// `XDP_TX`, because `XDP_TX` loses frames on a veth with native XDP.
    pub const BY_REDIRECT: u32 = 4;
}

/// What the classifier needs to know about the interface on which it runs. The daemon writes it to
/// [`MAP_CONFIG`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// pxed's IPv4 address on the interface, in network byte order as in an IPv4 header.
    pub address: [u8; 4],
    /// The subnet's broadcast address, in network byte order; 255.255.255.255 if the subnet has none.
    pub broadcast: [u8; 4],
    /// One of the values in [`dhcp_mode`].
    pub dhcp_mode: u32,
    /// 1 if requests to TFTP's port 69 on pxed's address are redirected to the daemon, else 0.
    pub tftp: u32,
    /// First port that transfers use on pxed's side, in host byte order.
    pub tid_first: u16,
    /// Last port that transfers use. The programs look up packets to the ports in this range only, so other
    /// traffic costs nothing.
    pub tid_last: u16,
    /// Bits from [`offload`].
    pub offload: u32,
    /// Index of the interface, to which answers are redirected.
    pub ifindex: u32,
    /// 1 during a hand-over from one daemon to the next, else 0. While it is 1, the program drops frames for
    /// a socket that does not exist. It does not pass them to the host, because the host would tell the
    /// client that the port is closed.
    pub hold: u32,
    /// Rate limits for one source.
    pub rates: Rates,
    /// 1 if this responder shares its segment with others, else 0. While it is 0, the programs do not look at
    /// [`MAP_RANKS`].
    pub shared: u32,
    /// Always 0.
    pub reserved: u32,
}

/// Returns the key of a machine in [`MAP_ASKED`]: its Ethernet address, padded to whole words.
#[inline(always)]
#[must_use]
pub const fn asked_key(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_ne_bytes([a, b, c, d, e, f, 0, 0])
}

/// The key of a TFTP transfer: its 4-tuple without pxed's address, which is [`Config::address`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TransferKey {
    /// The client's IPv4 address, in network byte order.
    pub client_addr: [u8; 4],
    /// The client's transfer identifier (TID, RFC 1350, section 4), in network byte order.
    pub client_port: [u8; 2],
    /// pxed's TID, in network byte order.
    pub server_port: [u8; 2],
}

impl TransferKey {
    /// Returns the key as one number, in memory byte order.
    #[inline(always)]
    #[must_use]
    pub const fn to_word(self) -> u64 {
        let ([a, b, c, d], [e, f], [g, h]) = (self.client_addr, self.client_port, self.server_port);
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    }

    /// Returns the hash of a key, as [`Self::to_word`] returns it: a multiplication by 2^64 over the golden
    /// ratio, of whose result the upper half counts, and its upper half once more: pxed's port, and a part of the
    /// client's, change nothing below. A client that chooses its key can only take another transfer's hint.
    #[inline(always)]
    #[must_use]
    pub const fn hash(word: u64) -> u32 {
        let product = word.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (product >> 32 ^ product >> 48) as u32
    }
}

/// What the kernel needs to know about a transfer that it has. It does not change while the transfer is
/// offloaded.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Number of the transfer among all transfers that have used this slot. The kernel acts only while
    /// [`Progress::word`] has the same generation.
    pub generation: u32,
    /// Index of the transfer's file in [`MAP_FILES`].
    pub file: u32,
    /// Number of the file's last block; the first block is 1.
    pub last: u32,
    /// Blocks per window (RFC 7440), at most [`WINDOWSIZE_MAX`]. 1 is lock-step.
    pub windowsize: u32,
}

/// Largest number of blocks that the kernel sends for one ACK.
///
/// The kernel grows a buffer for each block. Receivers count such a buffer twice, so more blocks at once
/// would overrun their sockets. User space sends larger windows at the same speed.
pub const WINDOWSIZE_MAX: u32 = 16;

/// A transfer in the kernel, and how far the kernel has come with it. User space reads and writes it through a
/// mapping, with atomic operations.
///
/// Everything that an answer needs is in this one cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The transfer's generation and the last block that was sent: see [`steady`](crate::steady). 0 while
    /// user space has the transfer.
    pub word: u64,
    /// Time of the kernel's last answer, by `CLOCK_MONOTONIC_COARSE` in ns.
    pub heard: u64,
    /// Key of the transfer in this slot. The kernel compares it with the packet's key: the index by which it
    /// found this slot may belong to another transfer.
    pub key: TransferKey,
    /// The transfer.
    pub transfer: Transfer,
    /// The [`Block::tag`] of the transfer's file. The kernel compares it, because the same index of
    /// [`MAP_FILES`] holds another file later.
    pub tag: u32,
    /// Always 0.
    pub reserved: [u32; 5],
}

/// Number of files that [`MAP_FILES`] can hold.
pub const FILES_MAX: u32 = 1024;

/// Largest UDP payload of a DATA packet that the kernel sends, in bytes: opcode (2), block number (2) and
/// 1468 bytes of data.
pub const PAYLOAD_MAX: usize = 1472;

/// One block of a file, ready to be sent.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Identifies the file. The same index of [`MAP_FILES`] holds another file later, which has another tag.
    /// 0 if there is no file.
    pub tag: u32,
    /// One's complement sum of the payload's 16-bit words, in memory byte order (RFC 1071).
    pub sum: u16,
    /// Length of the payload in bytes: 4 to [`PAYLOAD_MAX`]; 0 if there is no file.
    pub len: u16,
    /// The UDP payload: opcode 3, the block number, the data. The bytes behind `len` are 0.
    pub payload: [u8; PAYLOAD_MAX],
}

impl Block {
    /// A block without a file: the content of an unused index of [`MAP_FILES`].
    pub const NONE: Self = Self { tag: 0, sum: 0, len: 0, payload: [0; PAYLOAD_MAX] };
}

/// Largest copied frame in bytes: the largest DHCP request without fragments, with two VLAN tags.
pub const COPIED_MAX: usize = 1536;

/// A copied DHCP request in the ring buffer [`MAP_COPIES`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Copied {
    /// Length of the frame in `bytes`.
    pub len: u32,
    /// Receive queue on which the frame arrived.
    pub queue: u32,
    /// The frame, from its Ethernet header on. The bytes behind `len` are undefined.
    pub bytes: [u8; COPIED_MAX],
}

const _: () = assert!(size_of::<Config>() == 72);
const _: () = assert!(size_of::<Source>() == 12);
const _: () = assert!(size_of::<TransferKey>() == 8);
const _: () = assert!(size_of::<Transfer>() == 16);
const _: () = assert!(size_of::<Progress>() == 64);
// Array maps round the size of an element up to a multiple of 8 bytes. This size is such a multiple, so a
// mapping of the map is a slice of blocks.
const _: () = assert!(size_of::<Block>() == 8 + PAYLOAD_MAX && size_of::<Block>().is_multiple_of(8));
const _: () = assert!(size_of::<Copied>() == 8 + COPIED_MAX);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Machines of one subnet with the same port, and machines behind one address with ports in a row: with the
    /// fewest hints that user space makes for them, few share one.
    #[test]
    fn keys_that_differ_little_have_hints_of_their_own() {
        let key = |host: u16, port: u16| TransferKey {
            client_addr: [10, 0, host.to_be_bytes()[0], host.to_be_bytes()[1]],
            client_port: port.to_be_bytes(),
            server_port: [0xee, 0x48],
        };
        for count in [256, 1024, 4096] {
            let mask = u32::from(count) * 4 - 1;
            let distinct = |keys: &mut dyn Iterator<Item = TransferKey>| {
                keys.map(|key| TransferKey::hash(key.to_word()) & mask).collect::<HashSet<_>>().len()
            };
            let hosts = distinct(&mut (0..count).map(|host| key(host, 2070)));
            let ports = distinct(&mut (0..count).map(|port| key(1, 1024 + port)));
            for own in [hosts, ports] {
                assert!(own * 10 > usize::from(count) * 8, "{own} of {count}");
            }
        }
    }
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya asks for this promise about types that cross into the kernel")]
mod pod {
    use super::{Block, Config, Progress, TransferKey};
    use crate::segment::Ranks;

    // SAFETY: the type is `repr(C)` and consists of integers and arrays of integers only; it has no padding
    // (the sizes are asserted above), is `Copy`, and is 'static.
    unsafe impl aya::Pod for Config {}
    // SAFETY: as above.
    unsafe impl aya::Pod for TransferKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Progress {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Block {}
    // SAFETY: as above; it is an array of bytes.
    unsafe impl aya::Pod for Ranks {}
}
