//! Limits the number of uploads, and counts the blocks of each upload that wait for the disk. The workers and
//! the inbox's thread share these counts. `tests/models` tries all orders of these operations.

use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use pxe_proto::tftp::receive_session::BlockAccepted;

/// Largest window of an upload, in blocks. A client sends this many blocks without an ACK.
pub(super) const WINDOWSIZE_MAX: u16 = 16;
/// If more blocks of an upload than this wait for the disk, the next ACK is delayed.
pub(super) const BEHIND: usize = WINDOWSIZE_MAX as usize;

/// Limits the number of uploads. All workers share it; clones share the same count.
#[derive(Clone, Debug)]
pub struct UploadLimiter {
    taken: Arc<AtomicUsize>,
    most: usize,
}

impl UploadLimiter {
    /// Allows `most` uploads at a time.
    pub fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// Returns a permit for one upload, or `None` if the limit is reached. `announced` is the file's size in
    /// bytes, if the client announces it.
    pub fn take(&self, announced: Option<u64>) -> Option<UploadPermit> {
        let more = |taken| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        let (waiting, held) = (AtomicUsize::new(0), AtomicBool::new(false));
        Some(UploadPermit(Arc::new(UploadSlot { taken: Arc::clone(&self.taken), announced, waiting, held })))
    }
}

#[derive(Debug)]
struct UploadSlot {
    taken: Arc<AtomicUsize>,
    announced: Option<u64>,
    /// Blocks that wait for the disk.
    waiting: AtomicUsize,
    /// An ACK is delayed until no block waits.
    held: AtomicBool,
}

impl Drop for UploadSlot {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Permission for one upload. The responder holds a clone while the upload runs, and each block in the queue
/// holds one. So when the inbox's thread holds the last clone, no more blocks will come. Dropping the last
/// clone makes room for another upload.
#[derive(Clone, Debug)]
pub struct UploadPermit(Arc<UploadSlot>);

impl UploadPermit {
    /// Whether this is the last clone.
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Counts a block that now waits for the disk. Returns [`BlockAccepted::NoRoom`] if many blocks wait;
    /// then [`Self::written`] reports when none waits any more.
    pub fn stored(&self) -> BlockAccepted {
        let UploadSlot { waiting, held, .. } = &*self.0;
        if waiting.fetch_add(1, Ordering::SeqCst) < BEHIND {
            return BlockAccepted::Yes;
        }
        held.store(true, Ordering::SeqCst);
        // If no block waits, the inbox's thread may have written all of them before it could see `held`, and
        // would not report. The ACK must not be delayed then. `held` stays set, which costs at most one
        // unnecessary report later.
        if waiting.load(Ordering::SeqCst) == 0 { BlockAccepted::Yes } else { BlockAccepted::NoRoom }
    }

    /// Counts a block that was written or dropped. Returns true if the worker must get a reply that there is
    /// room again.
    pub fn written(&self) -> bool {
        let UploadSlot { waiting, held, .. } = &*self.0;
        waiting.fetch_sub(1, Ordering::SeqCst) == 1 && held.swap(false, Ordering::SeqCst)
    }

    /// The file's size in bytes. `None` if the client did not announce it.
    pub fn announced(&self) -> Option<u64> {
        self.0.announced
    }
}

impl PartialEq for UploadPermit {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
