//! The images that are loaded, published to all threads at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::image::{Image, Origin};
use super::memory::Memory;
use super::names::FileName;
use super::refusal::Refusal;

type Images = HashMap<FileName, Arc<Image>>;

/// Loaded images. Reading takes no lock; all writing is the loader's, one at a time.
#[derive(Debug)]
pub(super) struct Store {
    images: ArcSwap<Images>,
    /// Counts uses, as a clock for "least recently used".
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

    /// The image of that name, which counts as a use.
    pub(super) fn get(&self, name: &FileName) -> Option<Arc<Image>> {
        let image = Arc::clone(self.images.load().get(name)?);
        image.use_at(self.ticks.fetch_add(1, Ordering::Relaxed) + 1);
        Some(image)
    }

    /// All images that were copied from files.
    pub(super) fn files(&self) -> Vec<Arc<Image>> {
        self.images.load().values().filter(|image| image.stamp().is_some()).cloned().collect()
    }

    /// Puts an image under its name, in the place of the one that was there.
    pub(super) fn insert(&self, image: Arc<Image>) {
        image.use_at(self.ticks.fetch_add(1, Ordering::Relaxed) + 1);
        let mut images = Images::clone(&self.images.load());
        images.insert(*image.name(), image);
        self.images.store(Arc::new(images));
    }

    /// Takes names out; says whether there was something under any of them.
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

    /// Makes room for `size` more bytes by dropping files that nobody is using, least recently used ones first, and
    /// last the old version of `wanted`, whose new version needs the room. Returns what was dropped.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] if there could never be room, [`Refusal::OutOfMemory`] if there is none now; then nothing
    /// was dropped.
    pub(super) fn make_room(&self, size: u64, wanted: &FileName) -> Result<Vec<FileName>, Refusal> {
        let limit = self.memory.limit();
        if size > limit {
            return Err(Refusal::TooLarge);
        }
        let mut missing = self.memory.used().saturating_add(size).saturating_sub(limit);
        let mut idle = Vec::new();
        for image in self.images.load().values() {
            let is_file = matches!(image.origin(), Origin::File(_));
            // The map's own count is the only one: nobody is sending it.
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
