//! The boot files in the kernel: cut into blocks, with their checksums, in bounded memory.
//!
//! Workers only read the cache; only the loader changes it. A file is in the cache once for each block size
//! that clients negotiated. If there is no room, files that no transfer uses are removed, least recently used
//! first.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use pxe_common::abi::{self, PAYLOAD_MAX};

use pxe_content::boot::Image;
use pxe_nic::offload::files::Files;
use pxe_proto::checksum::Sum;
use pxe_proto::tftp::Block;
use pxe_proto::tftp::packet::{DATA_HEADER_LEN, data_header};

/// Most block sizes of one file. Firmware uses four or five. Without the limit, an attacker could request a
/// thousand sizes, and each would be cut into blocks.
const SIZES_MAX: usize = 8;

/// Takes the place of a block size in the key that says: this image has [`SIZES_MAX`] block sizes already. No
/// client may negotiate it (RFC 2348: 8 bytes at least).
const NO_MORE_SIZES: u16 = 0;

/// An image's number ([`Image::id`]) and the block size in bytes.
type CacheKey = (u64, u16);

/// Where the kernel holds a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelFile {
    /// Index in the kernel's table of files.
    pub index: u32,
    /// Distinguishes this file from earlier and later files at the same index.
    pub tag: u32,
}

/// The result of [`OffloadCache::find`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheLookup {
    /// The kernel has the file.
    Cached(KernelFile),
    /// No worker has requested the file yet, or the loader is cutting it.
    Absent,
    /// The kernel has no room for the file.
    NoRoom,
}

#[derive(Clone, Debug)]
struct CachedFile {
    image: Weak<Image>,
    /// `None` if the kernel had no room.
    file: Option<KernelFile>,
    bytes: u64,
    used: Arc<AtomicU64>,
}

impl CachedFile {
    /// Whether no transfer uses the image: only the catalogue holds it.
    fn is_idle(&self) -> bool {
        self.image.strong_count() <= 1
    }
}

/// The boot files of one interface in the kernel. Workers and the loader share it.
#[derive(Debug)]
pub struct OffloadCache {
    cached: ArcSwap<HashMap<CacheKey, CachedFile>>,
    /// Counts uses, as a clock for "least recently used".
    ticks: AtomicU64,
    limit: u64,
    /// Only the loader takes this lock.
    writer: Mutex<CacheWriter>,
}

/// The part of the cache that only the loader uses.
struct CacheWriter {
    files: Files,
    free: VecDeque<u32>,
    next_tag: u32,
    used: u64,
}

impl std::fmt::Debug for CacheWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheWriter").field("free", &self.free.len()).field("used", &self.used).finish()
    }
}

impl OffloadCache {
    /// An empty cache for at most `limit` bytes of blocks.
    pub fn new(files: Files, limit: u64) -> Self {
        let writer = CacheWriter { files, free: (0..abi::FILES_MAX).collect(), next_tag: 1, used: 0 };
        Self { cached: ArcSwap::default(), ticks: AtomicU64::new(0), limit, writer: Mutex::new(writer) }
    }

    /// Memory of all cached files, in bytes.
    pub fn used(&self) -> u64 {
        let cached = self.cached.load();
        cached.values().filter(|cached| cached.file.is_some()).map(|cached| cached.bytes).sum()
    }

    /// Looks a file up. A file that is found counts as used now.
    pub fn find(&self, image: &Image, blksize: u16) -> CacheLookup {
        let cached = self.cached.load();
        match cached.get(&(image.id(), blksize)) {
            None if cached.contains_key(&(image.id(), NO_MORE_SIZES)) => CacheLookup::NoRoom,
            None => CacheLookup::Absent,
            Some(CachedFile { file: None, .. }) => CacheLookup::NoRoom,
            Some(CachedFile { file: Some(file), used, .. }) => {
                used.store(self.ticks.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
                CacheLookup::Cached(*file)
            }
        }
    }

    /// Cuts a file into blocks and puts it into the kernel, or records that there is no room. Only the loader
    /// may call this.
    pub fn put(&self, image: &Arc<Image>, blksize: u16) {
        let mut writer = self.writer();
        if !matches!(self.find(image, blksize), CacheLookup::Absent) {
            return;
        }
        let mut cached = HashMap::clone(&self.cached.load());
        let sizes = cached.keys().filter(|(id, _)| *id == image.id()).count();
        let (blksize, file, bytes) = if sizes < SIZES_MAX {
            let count = image.len() / u64::from(blksize.max(1)) + 1;
            let bytes = count * size_of::<abi::Block>() as u64;
            let file = self.make_room(&mut writer, &mut cached, bytes, image);
            (blksize, file.and_then(|index| writer.fill(index, image, blksize, count)), bytes)
        } else {
            (NO_MORE_SIZES, None, 0)
        };
        let used = Arc::new(AtomicU64::new(self.ticks.fetch_add(1, Ordering::Relaxed)));
        if file.is_some() {
            writer.used += bytes;
        }
        cached.insert((image.id(), blksize), CachedFile { image: Arc::downgrade(image), file, bytes, used });
        self.cached.store(Arc::new(cached));
    }

    /// Removes files that are gone or have changed. Also forgets the files that found no room, because there
    /// may be room now.
    pub fn tidy(&self) {
        let mut writer = self.writer();
        let mut cached = HashMap::clone(&self.cached.load());
        let before = cached.len();
        let gone = |cached: &CachedFile| cached.image.strong_count() == 0 || cached.file.is_none();
        let keys: Vec<CacheKey> = cached.iter().filter(|(_, s)| gone(s)).map(|(key, _)| *key).collect();
        for key in keys {
            writer.remove(&mut cached, key);
        }
        if cached.len() != before {
            self.cached.store(Arc::new(cached));
        }
    }

    /// Returns a free index after idle files were removed as far as necessary. `None` if there is no room
    /// even so.
    fn make_room(
        &self,
        writer: &mut CacheWriter,
        cached: &mut HashMap<CacheKey, CachedFile>,
        bytes: u64,
        image: &Arc<Image>,
    ) -> Option<u32> {
        let others =
            cached.iter().filter(|((id, _), s)| *id != image.id() && s.file.is_some() && s.is_idle());
        let mut idle: Vec<(u64, CacheKey, u64)> =
            others.map(|(key, s)| (s.used.load(Ordering::Relaxed), *key, s.bytes)).collect();
        idle.sort_unstable();
        let could_be_free: u64 = idle.iter().map(|(.., bytes)| bytes).sum();
        if writer.used - could_be_free + bytes > self.limit {
            return None;
        }
        let mut idle = idle.into_iter();
        while writer.used + bytes > self.limit || writer.free.is_empty() {
            let (_, key, _) = idle.next()?;
            writer.remove(cached, key);
        }
        writer.free.pop_front()
    }

    fn writer(&self) -> MutexGuard<'_, CacheWriter> {
        // A poisoned lock holds a consistent state: a file is counted only after it was put completely.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheWriter {
    /// Puts a file at a free index. If that fails, the index becomes free again.
    fn fill(&mut self, index: u32, image: &Image, blksize: u16, count: u64) -> Option<KernelFile> {
        let tag = self.next_tag;
        self.next_tag = self.next_tag.wrapping_add(1).max(1);
        let put = u32::try_from(count).ok().map(|count| {
            self.files.put(index, count, |at, block| cut(block, tag, image.bytes(), u64::from(at), blksize))
        });
        match put {
            Some(Ok(())) => Some(KernelFile { index, tag }),
            Some(Err(error)) => {
                tracing::warn!(
                    "{}: cannot put the file into the kernel, so the daemon sends it: {error}",
                    image.name()
                );
                self.free.push_back(index);
                None
            }
            None => {
                self.free.push_back(index);
                None
            }
        }
    }

    fn remove(&mut self, cached: &mut HashMap<CacheKey, CachedFile>, key: CacheKey) {
        let Some(gone) = cached.remove(&key) else { return };
        let Some(file) = gone.file else { return };
        self.used -= gone.bytes;
        if let Err(error) = self.files.clear(file.index) {
            tracing::warn!(
                "cannot remove a boot file from the kernel's map: {error}. Its memory stays in use there"
            );
            return;
        }
        // The index goes to the end of the queue, so that it is reused late. A transfer that still refers to
        // the index finds another tag there, or no file.
        self.free.push_back(file.index);
    }
}

/// Writes block `at` (counted from 0) of a file as a DATA payload, with its checksum.
fn cut(block: &mut abi::Block, tag: u32, bytes: &[u8], at: u64, blksize: u16) {
    let number = Block(at + 1);
    let start = (number.offset(blksize) as usize).min(bytes.len());
    let data = &bytes[start..(start + usize::from(blksize)).min(bytes.len())];
    let len = (DATA_HEADER_LEN + data.len()).min(PAYLOAD_MAX);
    block.tag = tag;
    block.len = len as u16;
    block.payload[..DATA_HEADER_LEN].copy_from_slice(&data_header(number));
    block.payload[DATA_HEADER_LEN..len].copy_from_slice(&data[..len - DATA_HEADER_LEN]);
    block.sum = Sum::of(&block.payload[..len]).fold();
}
