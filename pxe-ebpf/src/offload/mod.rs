//! The kernel offload: an ACK in the steady state of a transfer is turned into the next DATA where it arrives.
//!
//! In XDP the frame grows by what the block is longer ([`xdp`]). Where a driver leaves no room for that, the frame goes
//! on to the tcx program ([`tcx`]), which also sends windows of several blocks. What neither can do is user space's.

pub mod tcx;
pub mod xdp;

use core::arch::asm;
use core::hint::black_box;

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use pxe_common::abi::{Block, PAYLOAD_MAX, Progress, Transfer};
use pxe_common::reply::Ack;
use pxe_common::steady::{self, Window};

use crate::maps;

/// The length of a block's payload, in bounds that the verifier sees; `None` if this is not the file that was meant.
#[inline(always)]
pub fn payload_len(block: &Block, transfer: &Transfer) -> Option<u32> {
    // LLVM must not carry what it learns here over to the 16 bits that the helpers are not called with.
    let len = black_box(u32::from(block.len)) & 0x7ff;
    if block.tag != transfer.tag || len == 0 || len > PAYLOAD_MAX as u32 { None } else { Some(len) }
}

/// The next step of a transfer, not taken yet.
pub struct Step {
    progress: *mut Progress,
    word: u64,
    pub window: Window,
}

impl Step {
    /// What `ack` asks of a transfer; `None` if that is not the kernel's to answer.
    #[inline(always)]
    pub fn of(transfer: &Transfer, ack: &Ack) -> Option<Self> {
        if transfer.generation == 0 {
            return None;
        }
        let block = ack.block()?;
        let progress = maps::PROGRESS.get_ptr_mut(transfer.slot)?;
        // SAFETY: a whole element of the map, aligned to 8; user space accesses it by atomics, too.
        let word = unsafe { (&raw const (*progress).word).read_volatile() };
        let window = steady::next(word, transfer, block)?;
        Some(Self { progress, word, window })
    }

    /// Takes the step; false if user space or another processor was faster.
    #[inline(always)]
    pub fn take(&self) -> bool {
        // SAFETY: as in `of`.
        if !unsafe { compare_exchange(&raw mut (*self.progress).word, self.word, self.window.word) } {
            return false;
        }
        // SAFETY: as in `of`; user space reads it atomically, and a value that is a moment old does no harm.
        unsafe { (&raw mut (*self.progress).heard).write_volatile(bpf_ktime_get_coarse_ns()) };
        true
    }
}

/// Puts `new` in the place of `old` and says whether that was what stood there (Linux 5.12); a full barrier.
///
/// By hand, since `core` believes that this machine has no such instruction.
///
/// # Safety
/// `at` points to memory of a map, aligned to 8.
#[inline(always)]
unsafe fn compare_exchange(at: *mut u64, old: u64, new: u64) -> bool {
    let mut found = old;
    // SAFETY: one atomic access to the memory that the caller vouches for.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({at} + 0, r0, {new})",
            at = in(reg) at,
            new = in(reg) new,
            inout("r0") found,
        );
    }
    found == old
}
