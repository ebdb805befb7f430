//! How far the kernel has come with each transfer: an array map, mapped into this process, and the hints by
//! which the kernel finds its elements.
#![expect(unsafe_code, reason = "memory shared with the kernel, by atomics")]

use std::io;
use std::os::fd::AsFd;

use memmap2::{MmapOptions, MmapRaw};
use pxe_common::abi::{self, Transfer, TransferKey};

pub use super::slot::Reached;
use super::slot::Slot;
use crate::sync::atomic::{AtomicU64, Ordering};

const _: () = assert!(size_of::<Slot>() == size_of::<abi::Progress>());

/// The slots of all transfers. All workers share this value, and each worker uses its own slots.
#[derive(Debug)]
pub struct Progress {
    slots: Elements<Slot>,
    /// The map's values have 4 bytes, and its elements 8: array maps round them up.
    hints: Elements<AtomicU64>,
}

/// An array map that is mapped into this process. Its elements are atomics.
#[derive(Debug)]
struct Elements<T> {
    map: MmapRaw,
    count: u32,
    element: std::marker::PhantomData<T>,
}

impl<T> Elements<T> {
    fn map((fd, count): (impl AsFd, u32)) -> io::Result<Self> {
        let len = count as usize * size_of::<T>();
        let map = MmapOptions::new().len(len).map_raw(&fd.as_fd())?;
        Ok(Self { map, count, element: std::marker::PhantomData })
    }

    fn get(&self, index: u32) -> Option<&T> {
        if index >= self.count {
            return None;
        }
        // SAFETY: the element lies in the mapping, which lives as long as `self` and is aligned to a page. The
        // kernel and this process access it by atomic operations only, for which any bits are valid.
        Some(unsafe { &*self.map.as_ptr().cast::<T>().add(index as usize) })
    }
}

impl Progress {
    /// Maps the array maps of the slots and of the hints, each with the number of its elements. The number of
    /// hints is a power of two.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn map(slots: (impl AsFd, u32), hints: (impl AsFd, u32)) -> io::Result<Self> {
        Ok(Self { slots: Elements::map(slots)?, hints: Elements::map(hints)? })
    }

    fn slot(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(slot)
    }

    /// Sets the transfer of a slot, with its key and its file's tag, before the kernel gets the transfer for
    /// the first time. The kernel does not have the transfer after this call.
    pub fn name(&self, slot: u32, key: &TransferKey, transfer: &Transfer, tag: u32) {
        let Some(element) = self.slot(slot) else { return };
        element.name(key, transfer, tag);
        let hash = TransferKey::hash(key.to_word());
        if let Some(hint) = self.hints.get(hash & (self.hints.count - 1)) {
            let [a, b, c, d] = slot.to_ne_bytes();
            hint.store(u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]), Ordering::Relaxed);
        }
    }

    /// Gives a transfer to the kernel. All blocks up to `sent` have been sent.
    pub fn offload(&self, slot: u32, generation: u32, sent: u32) {
        if let Some(slot) = self.slot(slot) {
            slot.offload(generation, sent);
        }
    }

    /// Returns how far the kernel has come; `None` if it does not have this transfer.
    pub fn offload_progress(&self, slot: u32, generation: u32) -> Option<Reached> {
        self.slot(slot)?.offload_progress(generation)
    }

    /// Takes a transfer back, and returns how far the kernel has come; `None` if it did not have this
    /// transfer. After this call the kernel sends nothing for it.
    pub fn reclaim(&self, slot: u32, generation: u32) -> Option<Reached> {
        self.slot(slot)?.reclaim(generation)
    }
}
