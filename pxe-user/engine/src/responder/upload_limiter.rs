//! Room for uploads, and what the workers and the inbox's thread know of each other's blocks. `tests/models` tries all ways
//! that this can go.

use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use pxe_proto::tftp::receive_session::BlockAccepted;

/// Blocks in a window of an upload: what may be on its way to the disk without an ACK.
pub(super) const WINDOWSIZE_MAX: u16 = 16;
/// With more blocks of an upload on their way to the disk, the next ACK waits.
pub(super) const BEHIND: usize = WINDOWSIZE_MAX as usize;

/// Room for uploads, shared by all workers.
#[derive(Clone, Debug)]
pub struct UploadLimiter {
    taken: Arc<AtomicUsize>,
    most: usize,
}

impl UploadLimiter {
    /// Room for `most` uploads at a time.
    pub fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// A place, if there is one, for a file whose size the client says or not.
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
    /// Blocks on their way to the disk.
    waiting: AtomicUsize,
    /// An ACK waits until there are none.
    held: AtomicBool,
}

impl Drop for UploadSlot {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An upload's place. The responder holds on to it while the upload is under way: who finds himself the only holder knows
/// that no more will come. The place is free when nobody holds it.
#[derive(Clone, Debug)]
pub struct UploadPermit(Arc<UploadSlot>);

impl UploadPermit {
    /// Whether nobody else holds it.
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// A block goes on its way to the disk; [`BlockAccepted::NoRoom`] if there are many. Then [`Self::written`] says when there are none.
    pub fn stored(&self) -> BlockAccepted {
        let UploadSlot { waiting, held, .. } = &*self.0;
        if waiting.fetch_add(1, Ordering::SeqCst) < BEHIND {
            return BlockAccepted::Yes;
        }
        held.store(true, Ordering::SeqCst);
        // All may have been written in between: then nobody has seen what was just said.
        if waiting.load(Ordering::SeqCst) == 0 { BlockAccepted::Yes } else { BlockAccepted::NoRoom }
    }

    /// A block has found its end. Whether somebody is to be told that there is room again.
    pub fn written(&self) -> bool {
        let UploadSlot { waiting, held, .. } = &*self.0;
        waiting.fetch_sub(1, Ordering::SeqCst) == 1 && held.swap(false, Ordering::SeqCst)
    }

    /// The file's size in bytes, if the client has said it.
    pub fn announced(&self) -> Option<u64> {
        self.0.announced
    }
}

impl PartialEq for UploadPermit {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
