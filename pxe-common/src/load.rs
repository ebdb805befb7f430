//! What the load generator and its kernel programs agree on. The daemon and its programs use nothing of this.
//!
//! The generator hands a transfer to the kernel in its steady state, as the daemon does on the other end. The
//! kernel acknowledges only the block that it expects, and passes every other packet to the socket. User space
//! then has the transfer again.

/// IPv4 address of the first machine; the others follow. A machine's index is its address less this one.
pub const FIRST: [u8; 4] = [10, 50, 1, 0];
/// `BPF_MAP_TYPE_ARRAY` of [`Transfer`] by the machine's index. User space writes it.
pub const MAP_TRANSFERS: &str = "TRANSFERS";
/// `BPF_MAP_TYPE_ARRAY` of [`Progress`] by the machine's index. The kernel writes it while it has the transfer.
pub const MAP_PROGRESS: &str = "PROGRESS";
/// `BPF_MAP_TYPE_ARRAY` of [`Block`]: the file, from its first block on.
pub const MAP_BLOCKS: &str = "BLOCKS";

/// Largest block that the kernel programs know, in bytes: what fits into an Ethernet frame.
pub const BLKSIZE_MAX: usize = 1468;

/// A machine's transfer, while the kernel has it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// The machine's TID, in network byte order.
    pub client_port: [u8; 2],
    /// The server's TID, in network byte order.
    pub server_port: [u8; 2],
    /// Number of the file's last block, which user space acknowledges itself. 0 if user space has the transfer.
    pub last: u32,
    /// Bytes in each block but the last.
    pub blksize: u16,
    /// Blocks per window (RFC 7440).
    pub windowsize: u16,
    /// The kernel compares every byte of the blocks for which the sum of block number and machine has none of
    /// these bits. 0 compares all of them.
    pub mask: u32,
    /// Length of an ACK's frame in bytes, at most that of the DATA packet's.
    pub frame_len: u32,
    /// Always 0.
    pub reserved: u32,
}

/// How far the kernel has come with a transfer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last block that has arrived in its order.
    pub have: u32,
    /// Blocks since the last ACK.
    pub in_window: u32,
    /// Blocks of which every byte was compared.
    pub compared: u32,
    /// 1 as soon as the kernel has passed a DATA packet to user space. It then leaves the transfer alone.
    pub returned: u32,
}

/// One block of the file. The bytes behind its end are 0.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block(pub [u8; Block::LEN]);

impl Block {
    /// [`BLKSIZE_MAX`] in whole words.
    pub const LEN: usize = BLKSIZE_MAX.next_multiple_of(8);
}

const _: () = assert!(size_of::<Transfer>() == 24);
const _: () = assert!(size_of::<Progress>() == 16);
const _: () = assert!(size_of::<Block>() == Block::LEN);

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya asks for this promise about types that cross into the kernel")]
mod pod {
    use super::{Block, Progress, Transfer};

    // SAFETY: the type is `repr(C)` and consists of integers and arrays of integers only; it has no padding
    // (the sizes are asserted above), is `Copy`, and is 'static.
    unsafe impl aya::Pod for Transfer {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Progress {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Block {}
}
