//! The kernel offload: an ACK in the steady state of a transfer is turned into the next DATA where it arrives.
//!
//! In XDP the frame grows by what the block is longer ([`xdp`]). Where a driver leaves no room for that, the frame goes
//! on to the tcx program ([`tcx`]), which also sends windows of several blocks. What neither can do is user space's.

pub mod tcx;
pub mod xdp;

use core::arch::asm;
use core::hint::black_box;

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use pxe_common::abi::{Block, PAYLOAD_MAX, Progress, Transfer, TransferKey};
use pxe_common::reply::Ack;
use pxe_common::steady::{self, Window};

use crate::maps;

/// The length of a block's payload; `None` if this is not the file that was meant.
#[inline(always)]
pub fn payload_len(block: &Block, tag: u32) -> Option<u16> {
    let len = block.len;
    if block.tag != tag || len == 0 || len as usize > PAYLOAD_MAX { None } else { Some(len) }
}

/// The same length in bounds that the verifier sees, right before the helper that wants them.
///
/// Behind LLVM's back, which knows them already, and in 64 bits: Linux 6.1 forgets the bounds of a number that was put
/// on the stack before it was compared, and learns nothing from a comparison with 0, so one less is compared.
#[inline(always)]
pub fn in_bounds(len: u16) -> Option<u32> {
    let less = black_box(u64::from(len).wrapping_sub(1));
    if less >= PAYLOAD_MAX as u64 { None } else { Some(less as u32 + 1) }
}

/// The next step of a transfer, not taken yet.
pub struct Step {
    progress: *mut Progress,
    word: u64,
    pub window: Window,
    /// The tag of the transfer's file.
    pub tag: u32,
}

impl Step {
    /// What `ack`, of the transfer `key`, asks; `None` if that is not the kernel's to answer.
    #[inline(always)]
    pub fn of(key: &TransferKey, transfer: &Transfer, ack: &Ack) -> Option<Self> {
        if transfer.generation == 0 {
            return None;
        }
        let block = ack.block()?;
        let progress = maps::PROGRESS.get_ptr_mut(transfer.slot)?;
        // SAFETY: a whole element of the map, aligned to 8; user space accesses it by atomics, too.
        let word = unsafe { (&raw const (*progress).word).read_volatile() };
        // SAFETY: as above; user space writes these two only while the word is 0, so they are those of this word.
        let (own, tag) = unsafe {
            ((&raw const (*progress).key).read_volatile(), (&raw const (*progress).tag).read_volatile())
        };
        let number = |key: &TransferKey| {
            let [a, b, c, d] = key.client_addr;
            u64::from_ne_bytes([
                a,
                b,
                c,
                d,
                key.client_port[0],
                key.client_port[1],
                key.server_port[0],
                key.server_port[1],
            ])
        };
        if number(&own) != number(key) {
            return None;
        }
        let window = steady::next(word, transfer, block)?;
        Some(Self { progress, word, window, tag })
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
