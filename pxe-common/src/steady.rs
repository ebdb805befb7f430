//! The steady state of a transfer: the server has sent all blocks up to `sent`, and an ACK of `sent` asks for
//! the next window.
//!
//! The kernel knows only this part of the protocol. User space handles everything else: the OACK, a lost or
//! repeated ACK, a time-out, and the end. The state machine in user space is the complete description of a
//! transfer; `pxe-user/engine/tests/tftp/offload.rs` compares the two.
//!
//! One 64-bit word for each transfer says which side may act. The upper half is the transfer's generation,
//! the lower half is `sent`. 0 means that user space has the transfer. Both sides change the word by atomic
//! operations only: the kernel advances it by a compare-and-exchange before it sends, and user space takes
//! the transfer back by an exchange with 0. So only one side sends the blocks of each step: the one whose
//! operation comes first. User space learns from the exchange which blocks the kernel has claimed.

use crate::abi::Transfer;

/// Returns the word of a transfer that the kernel has and whose blocks up to `sent` are sent.
#[inline(always)]
pub const fn word(generation: u32, sent: u32) -> u64 {
    (generation as u64) << 32 | sent as u64
}

/// Returns the last block that was sent. `None` if `word` does not have this generation: the kernel does not
/// have this transfer.
#[inline(always)]
pub const fn sent(word: u64, generation: u32) -> Option<u32> {
    if generation != 0 && (word >> 32) as u32 == generation { Some(word as u32) } else { None }
}

/// The blocks to send in answer to an ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Number of the first block.
    pub first: u32,
    /// Number of blocks, at least 1.
    pub count: u32,
    /// The transfer's word after this step.
    pub word: u64,
}

/// Returns the window that an ACK of the block `ack` asks for; `ack` has 16 bits (RFC 1350). `None` if user
/// space must handle this ACK.
#[inline(always)]
pub fn next(word_now: u64, transfer: &Transfer, ack: u16) -> Option<Window> {
    let sent = sent(word_now, transfer.generation)?;
    // User space handles the ACK of the last block, which ends the transfer.
    if sent as u16 != ack || sent >= transfer.last {
        return None;
    }
    let left = transfer.last - sent;
    let count = if transfer.windowsize < left { transfer.windowsize } else { left };
    Some(Window { first: sent + 1, count, word: word(transfer.generation, sent + count) })
}
