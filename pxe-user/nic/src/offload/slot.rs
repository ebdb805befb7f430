//! The words of one transfer, which the kernel and the daemon change at the same time.
//! `pxe-user/engine/tests/models` tries the orders of their operations that loom can produce. It cannot make a store
//! appear before an earlier one, so the fence in [`Slot::name`] stands for an argument and not for a test.

use pxe_common::abi::{Transfer, TransferKey};
use pxe_common::steady;

use crate::sync::atomic::{AtomicU64, Ordering, fence};

/// `pxe_common::abi::Progress` as shared memory.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Slot {
    pub(super) word: AtomicU64,
    pub(super) heard: AtomicU64,
    pub(super) key: AtomicU64,
    /// The transfer's generation and file.
    pub(super) file: AtomicU64,
    /// The transfer's last block and window size.
    pub(super) last: AtomicU64,
    /// The tag, together with a reserved field.
    pub(super) tag: AtomicU64,
    pub(super) reserved: [u64; 2],
}

/// How far the kernel has come with a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The last block that was sent.
    pub sent: u32,
    /// Time of the kernel's last answer, by `CLOCK_MONOTONIC` in ns, exact to a few milliseconds.
    pub heard: u64,
}

impl Slot {
    /// See [`Progress::name`](super::progress::Progress::name).
    pub(super) fn name(&self, key: &TransferKey, transfer: &Transfer, tag: u32) {
        let Transfer { generation, file, last, windowsize } = *transfer;
        self.word.store(0, Ordering::Relaxed);
        // No CPU may see the new transfer under the old word: a program that has read that word would answer with
        // another file's block. The program's compare-and-exchange of the word is fully ordered.
        fence(Ordering::Release);
        self.key.store(key.to_word(), Ordering::Relaxed);
        self.file.store(pair(generation, file), Ordering::Relaxed);
        self.last.store(pair(last, windowsize), Ordering::Relaxed);
        self.tag.store(pair(tag, 0), Ordering::Relaxed);
    }

    /// See [`Progress::offload`](super::progress::Progress::offload).
    pub(super) fn offload(&self, generation: u32, sent: u32) {
        // Release: the transfer is written before the kernel can see this word.
        self.word.store(steady::word(generation, sent), Ordering::Release);
    }

    /// See [`Progress::offload_progress`](super::progress::Progress::offload_progress).
    pub(super) fn offload_progress(&self, generation: u32) -> Option<Reached> {
        self.reached(self.word.load(Ordering::Acquire), generation)
    }

    /// See [`Progress::reclaim`](super::progress::Progress::reclaim).
    pub(super) fn reclaim(&self, generation: u32) -> Option<Reached> {
        self.reached(self.word.swap(0, Ordering::AcqRel), generation)
    }

    fn reached(&self, word: u64, generation: u32) -> Option<Reached> {
        let sent = steady::sent(word, generation)?;
        Some(Reached { sent, heard: self.heard.load(Ordering::Relaxed) })
    }
}

/// Returns two numbers as they follow each other in memory.
fn pair(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}
