//! Access to a frame in the kernel: the memory between `data` and `data_end` of a context.

use aya_ebpf::programs::XdpContext;
use pxe_common::Frame;

/// Largest offset of a read. No linear part of a frame is longer, and the verifier rejects larger offsets
/// (`MAX_PACKET_OFF`).
const OFFSET_LIMIT: usize = 0x3fff;

/// A frame in the kernel. Each read is checked against `data_end`, as the verifier requires.
pub struct Packet {
    data: usize,
    data_end: usize,
    /// A number whose value the verifier does not know; see [`Frame::forget`].
    unknown: usize,
}

impl Packet {
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Self {
        Self::of(ctx.data(), ctx.data_end(), ctx.rx_queue_index() as usize)
    }

    /// Makes a frame of two pointers of a context. `unknown` is any number whose value the verifier does not
    /// know.
    #[inline(always)]
    pub fn of(data: usize, data_end: usize, unknown: usize) -> Self {
        Self { data, data_end, unknown }
    }
}

impl Frame for Packet {
    #[inline(always)]
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        if at > OFFSET_LIMIT {
            return None;
        }
        let start = self.data + at;
        // For one byte, LLVM would compare `start >= data_end`, from which the verifier learns nothing.
        let end = if N == 1 { core::hint::black_box(start + N) } else { start + N };
        if end > self.data_end {
            return None;
        }
        // SAFETY: `start..start + N` lies between `data` and `data_end` (checked above). The kernel keeps
        // that memory valid while the program runs. The read is unaligned, so the address needs no alignment.
        Some(unsafe { core::ptr::read_unaligned(start as *const [u8; N]) })
    }

    #[inline(always)]
    fn forget(&self, value: usize) -> usize {
        // The verifier does not know that x ^ y ^ y is x. `black_box` hides it from LLVM.
        core::hint::black_box(value ^ self.unknown) ^ self.unknown
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.data_end - self.data
    }
}
