//! The kernel offload: it turns an ACK in the steady state of a transfer into the next DATA packet, where the
//! ACK arrives.
//!
//! In XDP, the frame of the ACK grows to the length of the DATA packet ([`xdp`]). If the driver leaves no
//! room for that, the frame goes on to the tcx program ([`tcx`]), which also sends windows of several blocks.
//! User space handles what neither of them can answer.

pub mod tcx;
pub mod xdp;

use core::arch::asm;
use core::hint::black_box;

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use pxe_common::abi::{Block, PAYLOAD_MAX, Progress, Transfer, TransferKey};
use pxe_common::reply::Ack;
use pxe_common::steady::{self, Window};

use crate::maps;

/// Returns the length of a block's payload in bytes; `None` if the block is not from the file with this tag.
#[inline(always)]
pub fn payload_len(block: &Block, tag: u32) -> Option<u16> {
    let len = block.len;
    if block.tag != tag || len == 0 || len as usize > PAYLOAD_MAX { None } else { Some(len) }
}

/// Returns the same length, with bounds that the verifier knows, immediately before the helper call that
/// needs them.
///
/// The check is hidden from LLVM, which knows the bounds already and would remove it, and it uses 64 bits.
/// Linux 6.1 forgets the bounds of a number that was on the stack before it was compared. It also learns
/// nothing from a comparison with 0, so the code compares the length less one.
#[inline(always)]
pub fn in_bounds(len: u16) -> Option<u32> {
    let less = black_box(u64::from(len).wrapping_sub(1));
    if less >= PAYLOAD_MAX as u64 { None } else { Some(less as u32 + 1) }
}

/// The next step of a transfer. [`Step::take`] takes it; until then nothing has changed.
pub struct Step {
    progress: *mut Progress,
    word: u64,
    pub window: Window,
    /// The tag of the transfer's file.
    pub tag: u32,
}

impl Step {
    /// Returns the step that `ack` of the transfer `key` asks for; `None` if user space must handle it.
    #[inline(always)]
    pub fn of(key: &TransferKey, transfer: &Transfer, ack: &Ack) -> Option<Self> {
        if transfer.generation == 0 {
            return None;
        }
        let block = ack.block()?;
        let progress = maps::PROGRESS.get_ptr_mut(transfer.slot)?;
        // SAFETY: the pointer is to a whole element of the map and is aligned to 8 bytes. User space also
        // accesses it with atomic operations only.
        let word = unsafe { (&raw const (*progress).word).read_volatile() };
        // SAFETY: as above. User space writes these two fields only while the word is 0, so they belong to
        // the word that was just read.
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

    /// Takes the step. Returns false if user space or another processor has changed the word first.
    #[inline(always)]
    pub fn take(&self) -> bool {
        // SAFETY: as in `of`.
        if !unsafe { compare_exchange(&raw mut (*self.progress).word, self.word, self.window.word) } {
            return false;
        }
        // SAFETY: as in `of`. User space reads the field atomically, and a value that is slightly old does no
        // harm.
        unsafe { (&raw mut (*self.progress).heard).write_volatile(bpf_ktime_get_coarse_ns()) };
        true
    }
}

/// Replaces `old` by `new` and returns whether the value was `old` (Linux 5.12). It is a full barrier.
///
/// It is written in assembly, because `core` assumes that this target has no such instruction.
///
/// # Safety
/// `at` points to memory of a map and is aligned to 8 bytes.
#[inline(always)]
unsafe fn compare_exchange(at: *mut u64, old: u64, new: u64) -> bool {
    let mut found = old;
    // SAFETY: this is one atomic access to memory that the caller guarantees to be valid and aligned.
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
