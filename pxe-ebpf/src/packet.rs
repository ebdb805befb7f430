//! Access to a frame in the kernel: the memory between `data` and `data_end` of a context.

use core::arch::asm;

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

/// Reads the word at `at`, which may have any alignment.
///
/// It is written in assembly. The compiler assumes that this target has no unaligned access, and would read
/// byte by byte. The kernel allows unaligned access to frames where the processor does (x86-64, arm64); on
/// others it rejects the program.
///
/// # Safety
/// The four bytes are readable memory.
#[inline(always)]
unsafe fn load(at: usize) -> u32 {
    let word: u64;
    // SAFETY: this is one read of memory that the caller guarantees to be readable.
    unsafe {
        asm!(
            "{word} = *(u32 *)({at} + 0)",
            at = in(reg) at,
            word = out(reg) word,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    // SAFETY: a load of 32 bits clears the upper half of the register.
    unsafe { core::hint::assert_unchecked(word <= u64::from(u32::MAX)) };
    word as u32
}

/// Writes `word` at `at`, which may have any alignment: see [`load`].
///
/// # Safety
/// The four bytes are writable memory, to which no reference exists.
#[inline(always)]
pub unsafe fn store(at: usize, word: u32) {
    // SAFETY: this is one write to memory that the caller guarantees to be writable.
    unsafe {
        asm!(
            "*(u32 *)({at} + 0) = {word}",
            at = in(reg) at,
            word = in(reg) u64::from(word),
            options(nostack, preserves_flags),
        );
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
    fn words<const N: usize>(&self, at: usize) -> Option<[u32; N]> {
        if at > OFFSET_LIMIT {
            return None;
        }
        let start = self.data + at;
        if start + 4 * N > self.data_end {
            return None;
        }
        let mut words = [0; N];
        for (index, word) in words.iter_mut().enumerate() {
            // SAFETY: the word lies between `data` and `data_end` (checked above), and the kernel keeps that
            // memory valid while the program runs.
            *word = unsafe { load(start + 4 * index) };
        }
        Some(words)
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
