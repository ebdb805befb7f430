//! The loaded images, published to all threads.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::image::{Image, Origin};
use super::memory::Memory;
use super::names::FileName;
use super::refusal::Refusal;

type Images = HashMap<FileName, Arc<Image>>;

/// The loaded images by name. Readers take no lock. Only one thread at a time may write, because a write
/// replaces a copy of the whole map: writers hold `Catalogue::loader`, or are still opening the catalogue.
#[derive(Debug)]
pub(super) struct Store {
    images: ArcSwap<Images>,
    /// The number of uses so far. It serves as the clock for "least recently used".
    ticks: AtomicU64,
    memory: Arc<Memory>,
}

impl Store {
    pub(super) fn new(limit: u64) -> Self {
        Self { images: ArcSwap::default(), ticks: AtomicU64::new(0), memory: Memory::new(limit) }
    }

    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The image of that name. The call counts as a use of the image.
    pub(super) fn get(&self, name: &FileName) -> Option<Arc<Image>> {
        let image = Arc::clone(self.images.load().get(name)?);
        image.use_at(self.ticks.fetch_add(1, Ordering::Relaxed) + 1);
        Some(image)
    }

    /// All images that are copies of files on disk.
    pub(super) fn files(&self) -> Vec<Arc<Image>> {
        self.images.load().values().filter(|image| image.stamp().is_some()).cloned().collect()
    }

    /// Publishes an image under its name, and replaces an earlier one.
    pub(super) fn insert(&self, image: Arc<Image>) {
        image.use_at(self.ticks.fetch_add(1, Ordering::Relaxed) + 1);
        let mut images = Images::clone(&self.images.load());
        images.insert(*image.name(), image);
        self.images.store(Arc::new(images));
    }

    /// Removes names. Returns whether any of them had an image.
    pub(super) fn remove(&self, names: &[FileName]) -> bool {
        let mut images = Images::clone(&self.images.load());
        let before = images.len();
        images.retain(|name, _| !names.contains(name));
        let changed = images.len() != before;
        if changed {
            self.images.store(Arc::new(images));
        }
        changed
    }

    /// Makes room for `size` more bytes. Removes images of files that no transfer uses, the least recently
    /// used first. The old version of `wanted` comes last: its new version then takes the room. Returns the
    /// names of the removed images.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] if `size` exceeds the limit, [`Refusal::OutOfMemory`] if there is not enough
    /// room now. Then nothing is removed.
    pub(super) fn make_room(&self, size: u64, wanted: &FileName) -> Result<Vec<FileName>, Refusal> {
        let limit = self.memory.limit();
        if size > limit {
            return Err(Refusal::TooLarge);
        }
        let mut missing = self.memory.used().saturating_add(size).saturating_sub(limit);
        let mut idle = Vec::new();
        for image in self.images.load().values() {
            let is_file = matches!(image.origin(), Origin::File(_));
            // Only the map holds the image, so no transfer uses it.
            if is_file && Arc::strong_count(image) == 1 {
                let is_wanted = image.name() == wanted;
                idle.push(((is_wanted, image.last_use()), *image.name(), image.len()));
            }
        }
        idle.sort_unstable_by_key(|(order, ..)| *order);
        let mut dropped = Vec::new();
        for (_, name, len) in idle {
            if missing == 0 {
                break;
            }
            missing = missing.saturating_sub(len);
            dropped.push(name);
        }
        if missing > 0 {
            return Err(Refusal::OutOfMemory);
        }
        if !dropped.is_empty() {
            self.remove(&dropped);
        }
        Ok(dropped)
    }
}
