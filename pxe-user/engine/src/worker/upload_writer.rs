//! The inbox's thread: it alone writes what machines put by TFTP, so that no worker ever waits for a disk.
//!
//! ```text
//! worker --put: name, size--> queue --> Inbox::begin -----------------> mailbox: open, or denied
//!        --store: a block---> queue --> Upload::write ----------------> mailbox: denied, or room again if it was behind
//!                                   \\-> the last: Upload::finish -----> mailbox: kept, or denied; the fleet
//! ```
//! The queue is never full: each upload has one request in it, and blocks are bounded by their buffers. Nor do these run
//! out while clients keep to the protocol, since ACKs wait while the disk is behind.

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

/// Blocks that may wait for the disk: as many as all uploads together can send without further ACKs, 3 MiB.
const BLOCKS_MAX: usize = UPLOADS_MAX * UPLOAD_BLOCKS_MAX;
/// Uploads whose clients have gone are looked for this often, in seconds.
const TIDY_EVERY: i64 = 1;

/// What a worker wants of the thread.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it lies in a queue with places of one size, made at the start"
)]
enum UploadRequest {
    Put { queues: Arc<WorkerQueues>, id: Id, permit: UploadPermit, name: UploadName, peer: Peer },
    Store { permit: UploadPermit, block: Buffer, last: bool },
}

/// The way to the inbox's thread.
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

    /// Asks for a place for a file; the answer goes into the mailbox. False if too many wait.
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

    /// Takes a block of such a file; the last one completes it.
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

    /// Buffers for blocks that change hands.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

/// The thread. Dropping this ends it; what is not complete then is removed.
#[derive(Debug)]
pub struct Uploads {
    queue: Arc<UploadQueue>,
    upload_limiter: UploadLimiter,
    thread: Option<JoinHandle<()>>,
}

impl Uploads {
    /// Starts the thread. Of `transfers` at a time, uploads are a quarter at the most, so that they leave room for others.
    /// `alive` is called at each turn: see [`crate::heartbeat`].
    ///
    /// # Errors
    /// The system's, when there are no more descriptors or threads.
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

    /// Where workers put blocks.
    pub fn queue(&self) -> &Arc<UploadQueue> {
        &self.queue
    }

    /// How many uploads there may be.
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

/// A file on its way.
struct OpenUpload {
    permit: UploadPermit,
    queues: Arc<WorkerQueues>,
    id: Id,
    mac: Mac,
    name: UploadName,
    upload: Upload,
}

/// The thread's work.
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
            // Interrupted is as good as rung.
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

    /// Gives up what nobody sends any more.
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
        // Its frames say, or behind a relay its lease: a router's own address is nobody's.
        let mac = self.fleet.owner_blocking(peer).ok().flatten().ok_or(UploadRefusal::Sender)?;
        let upload = self.inbox.begin(mac, &name, permit.announced());
        let upload = upload.map_err(|error| denial(&error, mac, &name))?;
        self.open.push(OpenUpload { permit, queues: Arc::clone(queues), id, mac, name, upload });
        Ok(())
    }

    fn store(&mut self, permit: &UploadPermit, block: &Buffer, last: bool) {
        let wanted = permit.written();
        // What was denied meanwhile may still have blocks in the queue.
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
            // Without a fleet nobody is left to be told.
            let _ = self.fleet.send_blocking(Message::Uploaded(mac, name.to_string(), size));
        }
    }
}

fn denial(error: &InboxError, mac: Mac, name: &UploadName) -> UploadRefusal {
    // Strangers choose the name, and how often: it is escaped, and said to those who look for it.
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
