//! The steady state of a transfer: every block up to `sent` has gone out, and an ACK of `sent` asks for the next window.
//!
//! This is the whole of the protocol that the kernel knows. Anything else (the OACK, a lost or repeated ACK, silence,
//! the end) is user space's, whose state machine is the description of it all; `pxe-user/engine/tests/tftp/offload.rs` holds
//! both against each other.
//!
//! Who may act is told by one 64-bit word for each transfer, changed by atomic operations only: the transfer's
//! generation in the upper half, `sent` in the lower. 0 means that user space has the transfer. The kernel moves it
//! on by a compare-and-exchange before it sends, user space takes the transfer back by an exchange with 0: so a block
//! is sent by one of both, never by neither without the other's knowledge.

use crate::abi::Transfer;

/// The word of a transfer that the kernel has, with every block up to `sent` on its way.
#[inline(always)]
pub const fn word(generation: u32, sent: u32) -> u64 {
    (generation as u64) << 32 | sent as u64
}

/// The last block that was sent according to a word of this generation.
#[inline(always)]
pub const fn sent(word: u64, generation: u32) -> Option<u32> {
    if generation != 0 && (word >> 32) as u32 == generation { Some(word as u32) } else { None }
}

/// Blocks to be sent in answer to an ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first block.
    pub first: u32,
    /// How many, at least 1.
    pub count: u32,
    /// The transfer's word from now on.
    pub word: u64,
}

/// What an ACK of the block `ack` (16 bits, RFC 1350) asks for; `None` if it is not the kernel's to answer.
#[inline(always)]
pub fn next(word_now: u64, transfer: &Transfer, ack: u16) -> Option<Window> {
    let sent = sent(word_now, transfer.generation)?;
    // The ACK of the last block is the end, which is user space's.
    if sent as u16 != ack || sent >= transfer.last {
        return None;
    }
    let left = transfer.last - sent;
    let count = if transfer.windowsize < left { transfer.windowsize } else { left };
    Some(Window { first: sent + 1, count, word: word(transfer.generation, sent + count) })
}
