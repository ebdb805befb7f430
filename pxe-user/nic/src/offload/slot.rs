//! The words of one transfer, which the kernel and the daemon change at the same time.
//! `pxe-user/engine/tests/models` tries all orders of their operations.

use pxe_common::abi::TransferKey;
use pxe_common::steady;

use crate::sync::atomic::{AtomicU64, Ordering};

/// `pxe_common::abi::Progress` as shared memory.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Slot {
    pub(super) word: AtomicU64,
    pub(super) heard: AtomicU64,
    pub(super) key: AtomicU64,
    /// The tag, together with the reserved field.
    pub(super) tag: AtomicU64,
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
    pub(super) fn name(&self, key: &TransferKey, tag: u32) {
        let [a, b, c, d] = key.client_addr;
        let ([e, f], [g, h]) = (key.client_port, key.server_port);
        self.word.store(0, Ordering::Relaxed);
        self.key.store(u64::from_ne_bytes([a, b, c, d, e, f, g, h]), Ordering::Relaxed);
        let [a, b, c, d] = tag.to_ne_bytes();
        self.tag.store(u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]), Ordering::Relaxed);
    }

    /// See [`Progress::offload`](super::progress::Progress::offload).
    pub(super) fn offload(&self, generation: u32, sent: u32) {
        // Release: the entry in the map of transfers is written before the kernel can see this word.
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
