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

use pxe_common::abi::{Block, PAYLOAD_MAX, Progress, Transfer};
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

/// A transfer that the kernel has.
#[derive(Clone, Copy)]
pub struct Offloaded {
    progress: *mut Progress,
    word: u64,
}

impl Offloaded {
    /// Finds the transfer with this key. The first result says whether it is one of pxed's; the second is
    /// `None` if user space has it.
    #[inline(always)]
    pub fn find(key: u64) -> (bool, Option<Self>) {
        if let Some(found) = maps::hint(key).and_then(|slot| Self::in_slot(slot, key)) {
            return (true, Some(found));
        }
        match maps::slot(key) {
            Some(slot) => (true, Self::in_slot(slot, key)),
            None => (false, None),
        }
    }

    /// Returns the transfer in this slot, if it has this key and the kernel has it.
    #[inline(always)]
    fn in_slot(slot: u32, key: u64) -> Option<Self> {
        let progress = maps::PROGRESS.get_ptr_mut(slot)?;
        // SAFETY: the pointer is to a whole element of the map and is aligned to 8 bytes. User space also
        // accesses it with atomic operations only.
        let (found, own) = unsafe {
            let (word, progress) = load_first(progress);
            (Self { progress, word }, (&raw const (*progress).key).cast::<u64>().read_volatile())
        };
        // User space changes the rest of a slot only while the word is 0.
        if found.word == 0 || own != key { None } else { Some(found) }
    }
}

/// The next step of a transfer. [`Step::take`] takes it; until then nothing has changed.
pub struct Step {
    progress: *mut Progress,
    word: u64,
    pub window: Window,
    /// Index of the transfer's file.
    pub file: u32,
    /// The tag of the transfer's file.
    pub tag: u32,
}

impl Step {
    /// Returns the step that `ack` of the transfer asks for; `None` if user space must handle it.
    #[inline(always)]
    pub fn of(offloaded: &Offloaded, ack: &Ack) -> Option<Self> {
        let Offloaded { progress, word } = *offloaded;
        let block = ack.block()?;
        // SAFETY: the pointer is to a whole element of the map and is aligned to 8 bytes. User space changes
        // these fields only while the word is 0, and gives the word another generation then. So they belong to
        // the word if `take` finds it unchanged.
        let (transfer, tag) = unsafe {
            let transfer = &raw const (*progress).transfer;
            let transfer = Transfer {
                generation: (&raw const (*transfer).generation).read_volatile(),
                file: (&raw const (*transfer).file).read_volatile(),
                last: (&raw const (*transfer).last).read_volatile(),
                windowsize: (&raw const (*transfer).windowsize).read_volatile(),
            };
            (transfer, (&raw const (*progress).tag).read_volatile())
        };
        let window = steady::next(word, &transfer, block)?;
        Some(Self { progress, word, window, file: transfer.file, tag })
    }

    /// Takes the step. Returns false if user space or another processor has changed the word first.
    #[inline(always)]
    pub fn take(&self) -> bool {
        // SAFETY: the pointer is to a whole element of the map and is aligned to 8 bytes.
        if !unsafe { compare_exchange(&raw mut (*self.progress).word, self.word, self.window.word) } {
            return false;
        }
        // SAFETY: as in `of`. User space reads the field atomically, and a value that is slightly old does no
        // harm.
        unsafe { (&raw mut (*self.progress).heard).write_volatile(maps::now()) };
        true
    }
}

/// Reads the word of a slot, and returns it with a pointer to the same slot. What is read through that pointer
/// is read after the word.
///
/// Processors with weak memory ordering (arm64) keep the order of a read whose address depends on an earlier
/// read. The pointer depends on the word, of which it adds nothing. The verifier knows that it is nothing, and
/// the assembly hides it from the compiler.
///
/// # Safety
/// `at` points to memory of a map and is aligned to 8 bytes.
#[inline(always)]
unsafe fn load_first(at: *mut Progress) -> (u64, *mut Progress) {
    let word: u64;
    let mut same = at;
    // SAFETY: this is one read of memory that the caller guarantees to be valid and aligned. The word is the
    // first field.
    unsafe {
        asm!(
            "{word} = *(u64 *)({same} + 0)",
            "{none} = {word}",
            "{none} &= 0",
            "{same} += {none}",
            word = out(reg) word,
            none = out(reg) _,
            same = inout(reg) same,
        );
    }
    (word, same)
}

const _: () = assert!(core::mem::offset_of!(Progress, word) == 0);

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
