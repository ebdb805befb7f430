//! How far the kernel has come with each transfer: an array map, mapped into this process.
#![expect(unsafe_code, reason = "memory shared with the kernel, by atomics")]

use std::io;
use std::os::fd::AsFd;

use memmap2::{MmapOptions, MmapRaw};
use pxe_common::abi::{self, TransferKey};

pub use super::slot::Reached;
use super::slot::Slot;

const _: () = assert!(size_of::<Slot>() == size_of::<abi::Progress>());

/// The slots of all transfers. All workers share this value, and each worker uses its own slots.
#[derive(Debug)]
pub struct Progress {
    map: MmapRaw,
    slots: u32,
}

impl Progress {
    /// Maps the array map `fd`, which has `slots` elements.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn map(fd: impl AsFd, slots: u32) -> io::Result<Self> {
        let len = slots as usize * size_of::<Slot>();
        let map = MmapOptions::new().len(len).map_raw(&fd.as_fd())?;
        Ok(Self { map, slots })
    }

    fn slot(&self, slot: u32) -> Option<&Slot> {
        if slot >= self.slots {
            return None;
        }
        // SAFETY: the slot lies in the mapping, which lives as long as `self` and is aligned to a page. The
        // kernel and this process access it by atomic operations only, for which any bits are valid.
        Some(unsafe { &*self.map.as_ptr().cast::<Slot>().add(slot as usize) })
    }

    /// Sets the key and the file's tag of a slot, before the kernel gets the slot's transfer for the first
    /// time. The kernel does not have the transfer after this call.
    pub fn name(&self, slot: u32, key: &TransferKey, tag: u32) {
        if let Some(slot) = self.slot(slot) {
            slot.name(key, tag);
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
