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

use super::door::Door;
use super::mail::Mailbox;
use super::pool::{Buffer, Pool};
use crate::responder::{Denial, Filed, Places, Ticket, UPLOAD_BLOCKS_MAX, UploadName};
use pxe_content::inbox::{Inbox, InboxError, UPLOADS_MAX, Upload};
use pxe_fleet::event::Peer;
use pxe_fleet::handle::{FleetHandle, Message};
use pxe_proto::mac::Mac;
use pxe_proto::tftp::reception::Taken;
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
enum Order {
    Put { mailbox: Arc<Mailbox>, id: Id, ticket: Ticket, name: UploadName, peer: Peer },
    Store { ticket: Ticket, block: Buffer, last: bool },
}

/// The way to the inbox's thread.
#[derive(Debug)]
pub struct UploadQueue {
    orders: ArrayQueue<Order>,
    pool: Arc<Pool>,
    door: Door,
}

impl UploadQueue {
    fn new() -> std::io::Result<Self> {
        let orders = ArrayQueue::new(BLOCKS_MAX + UPLOADS_MAX);
        Ok(Self { orders, pool: Pool::new(BLOCKS_MAX), door: Door::new()? })
    }

    /// Asks for a place for a file; the answer goes into the mailbox. False if too many wait.
    pub fn put(
        &self,
        mailbox: &Arc<Mailbox>,
        id: Id,
        ticket: &Ticket,
        name: &UploadName,
        peer: Peer,
    ) -> bool {
        self.push(Order::Put { mailbox: Arc::clone(mailbox), id, ticket: ticket.clone(), name: *name, peer })
    }

    /// Takes a block of such a file; the last one completes it.
    pub fn store(&self, ticket: &Ticket, bytes: &[u8], last: bool) -> Taken {
        let Some(block) = self.pool.copy(bytes) else { return Taken::No };
        let taken = ticket.stored();
        if self.push(Order::Store { ticket: ticket.clone(), block, last }) {
            return taken;
        }
        ticket.written();
        Taken::No
    }

    fn push(&self, order: Order) -> bool {
        let pushed = self.orders.push(order).is_ok();
        if pushed {
            self.door.ring();
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
    places: Places,
    thread: Option<JoinHandle<()>>,
}

impl Uploads {
    /// Starts the thread. Of `transfers` at a time, uploads are a quarter at the most, so that they leave room for others.
    /// `alive` is called at each turn: see [`crate::pulse`].
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
        let clerk = Clerk { inbox, fleet, open: Vec::with_capacity(UPLOADS_MAX) };
        let orders = Arc::clone(&queue);
        let run = move || clerk.run(&orders, alive);
        let thread = std::thread::Builder::new().name("pxed-inbox".into()).spawn(run)?;
        let places = Places::new((transfers / 4).clamp(1, UPLOADS_MAX));
        Ok(Self { queue, places, thread: Some(thread) })
    }

    /// Where workers put blocks.
    pub fn queue(&self) -> &Arc<UploadQueue> {
        &self.queue
    }

    /// How many uploads there may be.
    pub fn places(&self) -> &Places {
        &self.places
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        self.queue.door.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A file on its way.
struct Open {
    ticket: Ticket,
    mailbox: Arc<Mailbox>,
    id: Id,
    mac: Mac,
    name: UploadName,
    upload: Upload,
}

/// The thread's work.
struct Clerk {
    inbox: Arc<Inbox>,
    fleet: FleetHandle,
    open: Vec<Open>,
}

impl Clerk {
    fn run(mut self, queue: &UploadQueue, alive: impl Fn()) {
        while !queue.door.is_stopped() {
            alive();
            let mut fds = [PollFd::new(queue.door.bell(), PollFlags::IN)];
            // Interrupted is as good as rung.
            let _ = poll(&mut fds, Some(&Timespec { tv_sec: TIDY_EVERY, tv_nsec: 0 }));
            queue.door.quiet();
            while let Some(order) = queue.orders.pop() {
                match order {
                    Order::Put { mailbox, id, ticket, name, peer } => {
                        self.tidy();
                        let filed = self.put(&mailbox, id, ticket, name, peer);
                        mailbox.filed(id, filed.map_or_else(Filed::Denied, |()| Filed::Open));
                    }
                    Order::Store { ticket, block, last } => self.store(&ticket, &block, last),
                }
                alive();
            }
            self.tidy();
        }
    }

    /// Gives up what nobody sends any more.
    fn tidy(&mut self) {
        self.open.retain(|open| !open.ticket.is_abandoned());
    }

    fn put(
        &mut self,
        mailbox: &Arc<Mailbox>,
        id: Id,
        ticket: Ticket,
        name: UploadName,
        peer: Peer,
    ) -> Result<(), Denial> {
        // Its frames say, or behind a relay its lease: a router's own address is nobody's.
        let mac = self.fleet.owner_blocking(peer).ok().flatten().ok_or(Denial::Sender)?;
        let upload = self.inbox.begin(mac, &name, ticket.announced());
        let upload = upload.map_err(|error| denial(&error, mac, &name))?;
        self.open.push(Open { ticket, mailbox: Arc::clone(mailbox), id, mac, name, upload });
        Ok(())
    }

    fn store(&mut self, ticket: &Ticket, block: &Buffer, last: bool) {
        let wanted = ticket.written();
        // What was denied meanwhile may still have blocks in the queue.
        let Some(index) = self.open.iter().position(|open| open.ticket == *ticket) else { return };
        let open = &mut self.open[index];
        let written = open.upload.write(block.bytes());
        if written.is_ok() && !last {
            if wanted {
                open.mailbox.filed(open.id, Filed::Room);
            }
            return;
        }
        let Open { mailbox, id, mac, name, upload, .. } = self.open.swap_remove(index);
        let kept = written.and_then(|()| upload.finish());
        mailbox.filed(
            id,
            match &kept {
                Ok(_) => Filed::Kept,
                Err(error) => Filed::Denied(denial(error, mac, &name)),
            },
        );
        if let Ok(size) = kept {
            tracing::info!(event = "uploaded", %mac, name = name.as_str(), size, "stored an upload");
            // Without a fleet nobody is left to be told.
            let _ = self.fleet.send_blocking(Message::Uploaded(mac, name.to_string(), size));
        }
    }
}

fn denial(error: &InboxError, mac: Mac, name: &UploadName) -> Denial {
    // Strangers choose the name, and how often: it is escaped, and said to those who look for it.
    tracing::debug!(event = "upload_refused", %mac, name = ?name.as_str(), "{error}");
    match error {
        InboxError::Name => Denial::Name,
        InboxError::Exists => Denial::Exists,
        InboxError::TooLarge(_) => Denial::TooLarge,
        InboxError::Full(_) => Denial::Full,
        InboxError::Busy | InboxError::MachineBusy => Denial::Busy,
        InboxError::Disk(error) if error.kind() == std::io::ErrorKind::StorageFull => Denial::Full,
        InboxError::Disk(_) => Denial::Disk,
    }
}

#[cfg(test)]
mod tests;
