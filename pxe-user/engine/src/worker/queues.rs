//! What crosses threads: bounded lock-free queues with a bell.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use arrayvec::ArrayVec;
use crossbeam_queue::ArrayQueue;

use super::offload_cache::OffloadCache;
use super::pool::{Buffer, Pool};
use super::waker::Waker;
use crate::responder::InboxReply;
use pxe_content::boot::{FileName, Image, Refusal};
use pxe_fleet::event::Peer;
use pxe_proto::datagram::{Datagram, Link};
use pxe_proto::mac::Mac;
use pxe_proto::tftp::packet::Packet;
use pxe_proto::tftp::table::Id;

/// Packets of another worker's transfers that may wait.
const FORWARDED_MAX: usize = 1024;
/// Answers of the inbox that may wait: two for each upload, and there are 64 at a time.
const FILED_MAX: usize = 512;
/// An ACK has 4 bytes; an ERROR is understood by as many.
const FORWARDED_PAYLOAD: usize = 64;

/// The loader's answer.
#[derive(Debug)]
pub struct Loaded {
    /// Which request.
    pub id: Id,
    /// The name that was asked for.
    pub name: FileName,
    /// The file, or why there is none.
    pub file: Result<Arc<Image>, Refusal>,
}

/// A packet that reached the wrong worker: receive queues are chosen by the card, TIDs by us.
#[derive(Debug)]
pub struct Forwarded {
    link: Link,
    from: SocketAddrV4,
    to: SocketAddrV4,
    payload: Payload,
}

#[derive(Debug)]
enum Payload {
    Short(ArrayVec<u8, FORWARDED_PAYLOAD>),
    Whole(Buffer),
}

impl Forwarded {
    /// Copies a datagram, cut to what an ACK or ERROR needs; but DATA as a whole, for which there may be no room in `pool`.
    pub fn new(datagram: &Datagram<'_>, pool: Option<&Arc<Pool>>) -> Option<Self> {
        let bytes = datagram.payload;
        // An upload's block that was cut would look like its last.
        let payload = match Packet::parse(bytes) {
            Ok(Packet::Data(..)) => Payload::Whole(pool?.copy(bytes)?),
            _ => Payload::Short(bytes.iter().copied().take(FORWARDED_PAYLOAD).collect()),
        };
        Some(Self { link: datagram.link, from: datagram.from, to: datagram.to, payload })
    }

    /// The datagram again.
    pub fn datagram(&self) -> Datagram<'_> {
        let payload = match &self.payload {
            Payload::Short(bytes) => bytes,
            Payload::Whole(buffer) => buffer.bytes(),
        };
        Datagram { link: self.link, from: self.from, to: self.to, payload }
    }
}

/// What other threads have for a worker.
#[derive(Debug)]
pub struct WorkerQueues {
    loaded: ArrayQueue<Loaded>,
    push_inbox_reply: ArrayQueue<(Id, InboxReply)>,
    forwarded: ArrayQueue<Forwarded>,
    file_requested: ArrayQueue<Mac>,
    waker: Waker,
}

impl WorkerQueues {
    /// Room for the answers to `transfers` requests.
    ///
    /// # Errors
    /// The system's, when there are no more descriptors.
    pub fn new(transfers: usize) -> std::io::Result<Self> {
        Ok(Self {
            loaded: ArrayQueue::new(transfers.max(1) * 2),
            push_inbox_reply: ArrayQueue::new(FILED_MAX),
            forwarded: ArrayQueue::new(FORWARDED_MAX),
            file_requested: ArrayQueue::new(FORWARDED_MAX),
            waker: Waker::new()?,
        })
    }

    /// Puts an answer in. Requests that were replaced meanwhile may fill it; then the table gives the request up after
    /// a while, and the client asks again.
    pub fn push_loaded(&self, loaded: Loaded) {
        let _ = self.loaded.push(loaded);
        self.waker.wake();
    }

    /// Puts an answer of the inbox in. If it is lost, the upload is given up after a while.
    pub fn push_inbox_reply(&self, id: Id, push_inbox_reply: InboxReply) {
        let _ = self.push_inbox_reply.push((id, push_inbox_reply));
        self.waker.wake();
    }

    /// The next such answer.
    pub fn next_inbox_reply(&self) -> Option<(Id, InboxReply)> {
        self.push_inbox_reply.pop()
    }

    /// Puts a packet in; false if there is no room.
    pub fn forward(&self, forwarded: Forwarded) -> bool {
        let sent = self.forwarded.push(forwarded).is_ok();
        self.waker.wake();
        sent
    }

    /// Notes that a machine asks for a file. Read whenever the worker wakes up; if it sleeps for long, the oldest go.
    pub fn file_requested(&self, mac: Mac) {
        let _ = self.file_requested.force_push(mac);
    }

    /// The next such machine.
    pub fn next_file_request(&self) -> Option<Mac> {
        self.file_requested.pop()
    }

    /// The next answer.
    pub fn next_loaded(&self) -> Option<Loaded> {
        self.loaded.pop()
    }

    /// The next packet.
    pub fn next_forwarded(&self) -> Option<Forwarded> {
        self.forwarded.pop()
    }

    /// Its owner's door.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }
}

/// What a worker wants of the loader.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it lies in a queue with places of one size, made at the start"
)]
pub enum LoaderRequest {
    /// A file.
    Load {
        /// Where the answer goes.
        queues: Arc<WorkerQueues>,
        /// Which request.
        id: Id,
        /// The file.
        name: FileName,
        /// Who asks, and where: some files are written for each machine.
        peer: Peer,
        /// The address of ours that it used.
        server: Ipv4Addr,
    },
    /// A file in the kernel; the shelf shows when it is there.
    Cache {
        /// Whose.
        cache: Arc<OffloadCache>,
        /// The file.
        image: Arc<Image>,
        /// Bytes per block.
        blksize: u16,
    },
}

/// The requests that wait for the loader.
#[derive(Debug)]
pub struct LoaderQueue {
    requests: ArrayQueue<LoaderRequest>,
    waker: Waker,
}

impl LoaderQueue {
    /// Room for `most` requests.
    ///
    /// # Errors
    /// The system's, when there are no more descriptors.
    pub fn new(most: usize) -> std::io::Result<Self> {
        Ok(Self { requests: ArrayQueue::new(most.max(1)), waker: Waker::new()? })
    }

    /// Adds a request; false if too many wait.
    pub fn push(&self, order: LoaderRequest) -> bool {
        let pushed = self.requests.push(order).is_ok();
        if pushed {
            self.waker.wake();
        }
        pushed
    }

    /// The next request.
    pub fn pop(&self) -> Option<LoaderRequest> {
        self.requests.pop()
    }

    /// Its owner's door.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }
}
