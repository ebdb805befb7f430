//! The inbox's thread. Only this thread writes the files that machines upload by TFTP, so that no worker
//! waits for a disk. Workers send it requests through an [`UploadQueue`]; replies go to the [`WorkerQueues`].
//!
//! ```text
//! worker --put: name, size--> UploadQueue --> Inbox::begin --------> reply: open, or denied
//!        --store: a block---> UploadQueue --> Upload::write -------> reply: denied, or that there is room
//!                                                                    again, if the ACK waits for that
//!                                        \-> last: Upload::finish -> reply: kept, or denied; the fleet
//! ```
//! The queue cannot be full: each upload has one `put` in it, and each block needs one of the pool's buffers.
//! The buffers are enough while clients keep to the protocol, because ACKs wait while the disk is behind.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_queue::ArrayQueue;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::pool::{Buffer, Pool};
use super::queues::WorkerQueues;
use super::waker::Waker;
use crate::responder::{
    InboxReply, UPLOAD_BLOCKS_MAX, UploadLimiter, UploadName, UploadPermit, UploadRefusal,
};
use pxe_content::inbox::{Inbox, InboxError, UPLOADS_MAX, Upload};
use pxe_fleet::event::Peer;
use pxe_fleet::handle::{FleetHandle, Message};
use pxe_proto::mac::Mac;
use pxe_proto::tftp::receive_session::BlockAccepted;
use pxe_proto::tftp::table::Id;

/// Most blocks that wait for the disk: as many as all uploads together can send without a further ACK, 3 MiB.
const BLOCKS_MAX: usize = UPLOADS_MAX * UPLOAD_BLOCKS_MAX;
/// How often abandoned uploads are removed at least, in seconds.
const TIDY_EVERY: i64 = 1;

/// A request of a worker.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it lies in a queue with places of one size, made at the start"
)]
enum UploadRequest {
    Put { queues: Arc<WorkerQueues>, id: Id, permit: UploadPermit, name: UploadName, peer: Peer },
    Store { permit: UploadPermit, block: Buffer, last: bool },
}

/// The queue of requests to the inbox's thread. All workers share it.
#[derive(Debug)]
pub struct UploadQueue {
    requests: ArrayQueue<UploadRequest>,
    pool: Arc<Pool>,
    waker: Waker,
}

impl UploadQueue {
    fn new() -> std::io::Result<Self> {
        let requests = ArrayQueue::new(BLOCKS_MAX + UPLOADS_MAX);
        Ok(Self { requests, pool: Pool::new(BLOCKS_MAX), waker: Waker::new()? })
    }

    /// Asks the inbox to create a file. The reply goes to `queues`. Returns false if the queue is full.
    pub fn put(
        &self,
        queues: &Arc<WorkerQueues>,
        id: Id,
        permit: &UploadPermit,
        name: &UploadName,
        peer: Peer,
    ) -> bool {
        self.push(UploadRequest::Put {
            queues: Arc::clone(queues),
            id,
            permit: permit.clone(),
            name: *name,
            peer,
        })
    }

    /// Queues a block of an upload. The block with `last` completes the file.
    pub fn store(&self, permit: &UploadPermit, bytes: &[u8], last: bool) -> BlockAccepted {
        let Some(block) = self.pool.copy(bytes) else { return BlockAccepted::No };
        let taken = permit.stored();
        if self.push(UploadRequest::Store { permit: permit.clone(), block, last }) {
            return taken;
        }
        permit.written();
        BlockAccepted::No
    }

    fn push(&self, order: UploadRequest) -> bool {
        let pushed = self.requests.push(order).is_ok();
        if pushed {
            self.waker.wake();
        }
        pushed
    }

    /// The pool of buffers for blocks. Workers also use it to forward DATA to each other.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

/// The inbox's thread. Dropping this value stops the thread, and removes uploads that are not complete.
#[derive(Debug)]
pub struct Uploads {
    queue: Arc<UploadQueue>,
    upload_limiter: UploadLimiter,
    thread: Option<JoinHandle<()>>,
}

impl Uploads {
    /// Starts the thread. At most a quarter of the `transfers` may be uploads, so that others find slots.
    /// `alive` is called in each turn of the loop: see [`crate::heartbeat`].
    ///
    /// # Errors
    /// If the process has no free file descriptors, or cannot start a thread.
    pub fn start(
        inbox: Arc<Inbox>,
        transfers: usize,
        fleet: FleetHandle,
        alive: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(UploadQueue::new()?);
        let clerk = UploadWriter { inbox, fleet, open: Vec::with_capacity(UPLOADS_MAX) };
        let requests = Arc::clone(&queue);
        let run = move || clerk.run(&requests, alive);
        let thread = std::thread::Builder::new().name("pxed-inbox".into()).spawn(run)?;
        let upload_limiter = UploadLimiter::new((transfers / 4).clamp(1, UPLOADS_MAX));
        Ok(Self { queue, upload_limiter, thread: Some(thread) })
    }

    /// The queue through which workers send blocks.
    pub fn queue(&self) -> &Arc<UploadQueue> {
        &self.queue
    }

    /// The limit on the number of uploads.
    pub fn limiter(&self) -> &UploadLimiter {
        &self.upload_limiter
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        self.queue.waker.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An upload whose file is being written.
struct OpenUpload {
    permit: UploadPermit,
    queues: Arc<WorkerQueues>,
    id: Id,
    mac: Mac,
    name: UploadName,
    upload: Upload,
}

/// The state of the thread.
struct UploadWriter {
    inbox: Arc<Inbox>,
    fleet: FleetHandle,
    open: Vec<OpenUpload>,
}

impl UploadWriter {
    fn run(mut self, queue: &UploadQueue, alive: impl Fn()) {
        while !queue.waker.is_stopped() {
            alive();
            let mut fds = [PollFd::new(queue.waker.event_fd(), PollFlags::IN)];
            // An interruption by a signal counts as a wake-up.
            let _ = poll(&mut fds, Some(&Timespec { tv_sec: TIDY_EVERY, tv_nsec: 0 }));
            queue.waker.clear();
            while let Some(order) = queue.requests.pop() {
                match order {
                    UploadRequest::Put { queues, id, permit, name, peer } => {
                        self.tidy();
                        let filed = self.put(&queues, id, permit, name, peer);
                        queues.push_inbox_reply(
                            id,
                            filed.map_or_else(InboxReply::Denied, |()| InboxReply::Open),
                        );
                    }
                    UploadRequest::Store { permit, block, last } => self.store(&permit, &block, last),
                }
                alive();
            }
            self.tidy();
        }
    }

    /// Removes uploads whose session has ended in the worker.
    fn tidy(&mut self) {
        self.open.retain(|open| !open.permit.is_abandoned());
    }

    fn put(
        &mut self,
        queues: &Arc<WorkerQueues>,
        id: Id,
        permit: UploadPermit,
        name: UploadName,
        peer: Peer,
    ) -> Result<(), UploadRefusal> {
        // The frame's source identifies the machine, or behind a relay its lease: the frame then has the
        // router's address, which identifies no machine.
        let mac = self.fleet.owner_blocking(peer).ok().flatten().ok_or(UploadRefusal::Sender)?;
        let upload = self.inbox.begin(mac, &name, permit.announced());
        let upload = upload.map_err(|error| denial(&error, mac, &name))?;
        self.open.push(OpenUpload { permit, queues: Arc::clone(queues), id, mac, name, upload });
        Ok(())
    }

    fn store(&mut self, permit: &UploadPermit, block: &Buffer, last: bool) {
        let wanted = permit.written();
        // Blocks of an upload that was denied meanwhile may still be in the queue.
        let Some(index) = self.open.iter().position(|open| open.permit == *permit) else { return };
        let open = &mut self.open[index];
        let written = open.upload.write(block.bytes());
        if written.is_ok() && !last {
            if wanted {
                open.queues.push_inbox_reply(open.id, InboxReply::Room);
            }
            return;
        }
        let OpenUpload { queues, id, mac, name, upload, .. } = self.open.swap_remove(index);
        let kept = written.and_then(|()| upload.finish());
        queues.push_inbox_reply(
            id,
            match &kept {
                Ok(_) => InboxReply::Kept,
                Err(error) => InboxReply::Denied(denial(error, mac, &name)),
            },
        );
        if let Ok(size) = kept {
            tracing::info!(event = "uploaded", %mac, name = name.as_str(), size, "stored an upload");
            // If the fleet has ended, the event is lost.
            let _ = self.fleet.send_blocking(Message::Uploaded(mac, name.to_string(), size));
        }
    }
}

fn denial(error: &InboxError, mac: Mac, name: &UploadName) -> UploadRefusal {
    // The client chooses the name, and may repeat the request at any rate. So the name is escaped, and the
    // message has the lowest level.
    tracing::debug!(event = "upload_refused", %mac, name = ?name.as_str(), "{error}");
    match error {
        InboxError::Name => UploadRefusal::Name,
        InboxError::Exists => UploadRefusal::Exists,
        InboxError::TooLarge(_) => UploadRefusal::TooLarge,
        InboxError::Full(_) => UploadRefusal::Full,
        InboxError::Busy | InboxError::MachineBusy => UploadRefusal::Busy,
        InboxError::Disk(error) if error.kind() == std::io::ErrorKind::StorageFull => UploadRefusal::Full,
        InboxError::Disk(_) => UploadRefusal::Disk,
    }
}

#[cfg(test)]
mod tests;
