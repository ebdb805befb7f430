//! How far the kernel has come with each transfer: an array map, mapped.
#![expect(unsafe_code, reason = "memory shared with the kernel, by atomics")]

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use pxe_common::abi::TransferKey;
use pxe_common::{abi, steady};

/// `abi::Progress` as it is shared.
#[repr(C)]
struct Shared {
    word: AtomicU64,
    heard: AtomicU64,
    key: AtomicU64,
    /// With the reserved half.
    tag: AtomicU64,
}

const _: () = assert!(size_of::<Shared>() == size_of::<abi::Progress>());

/// One slot for each transfer. Shared by the workers, each with slots of its own.
#[derive(Debug)]
pub struct Progress {
    map: MmapRaw,
    slots: u32,
}

/// What the kernel has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The last block that was sent.
    pub sent: u32,
    /// `CLOCK_MONOTONIC` in ns, to a few milliseconds, when it was.
    pub heard: u64,
}

impl Progress {
    /// Maps the array map `fd` of so many `slots`.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn map(fd: impl AsFd, slots: u32) -> io::Result<Self> {
        let len = slots as usize * size_of::<Shared>();
        let map = MmapOptions::new().len(len).map_raw(&fd.as_fd())?;
        Ok(Self { map, slots })
    }

    fn slot(&self, slot: u32) -> Option<&Shared> {
        if slot >= self.slots {
            return None;
        }
        // SAFETY: the slot lies in the mapping, which lives as long as `self` and is aligned to a page; the kernel
        // and we access it by atomics only, for which any bits are valid.
        Some(unsafe { &*self.map.as_ptr().cast::<Shared>().add(slot as usize) })
    }

    /// Says whose transfer a slot is and which file it loads, before the kernel is given it for the first time.
    pub fn name(&self, slot: u32, key: &TransferKey, tag: u32) {
        let Some(shared) = self.slot(slot) else { return };
        let [a, b, c, d] = key.client_addr;
        let ([e, f], [g, h]) = (key.client_port, key.server_port);
        shared.word.store(0, Ordering::Relaxed);
        shared.key.store(u64::from_ne_bytes([a, b, c, d, e, f, g, h]), Ordering::Relaxed);
        let [a, b, c, d] = tag.to_ne_bytes();
        shared.tag.store(u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]), Ordering::Relaxed);
    }

    /// Gives a transfer to the kernel, with every block up to `sent` on its way.
    pub fn give(&self, slot: u32, generation: u32, sent: u32) {
        let Some(shared) = self.slot(slot) else { return };
        // Release: the entry in the map of transfers was written before.
        shared.word.store(steady::word(generation, sent), Ordering::Release);
    }

    /// Looks how far the kernel is; `None` if it does not have this transfer.
    pub fn look(&self, slot: u32, generation: u32) -> Option<Reached> {
        let shared = self.slot(slot)?;
        Self::reached(shared, shared.word.load(Ordering::Acquire), generation)
    }

    /// Takes a transfer back. From here on the kernel sends nothing for it.
    pub fn take(&self, slot: u32, generation: u32) -> Option<Reached> {
        let shared = self.slot(slot)?;
        Self::reached(shared, shared.word.swap(0, Ordering::AcqRel), generation)
    }

    fn reached(shared: &Shared, word: u64, generation: u32) -> Option<Reached> {
        let sent = steady::sent(word, generation)?;
        Some(Reached { sent, heard: shared.heard.load(Ordering::Relaxed) })
    }
}
