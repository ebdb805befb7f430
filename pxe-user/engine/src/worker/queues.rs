//! The queues between threads: bounded, lock-free, each with a [`Waker`].

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

/// Most forwarded packets in a queue.
const FORWARDED_MAX: usize = 1024;
/// Most replies of the inbox in a queue. Each of at most 64 uploads needs room for two.
const INBOX_REPLIES_MAX: usize = 512;
/// Bytes that are forwarded of a packet other than DATA. An ACK has 4 bytes, and the first 4 bytes of an
/// ERROR hold its code.
const FORWARDED_PAYLOAD: usize = 64;

/// The loader's reply to [`LoaderRequest::Load`].
#[derive(Debug)]
pub struct Loaded {
    /// The slot of the request.
    pub id: Id,
    /// The name that the client asked for.
    pub name: FileName,
    /// The file, or why the client does not get it.
    pub file: Result<Arc<Image>, Refusal>,
}

/// A packet that arrived at the wrong worker: the network card chooses the receive queue, but the TID says
/// which worker has the transfer.
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
    /// Copies a datagram. Of an ACK or ERROR, only the first bytes are copied. DATA is copied completely,
    /// into a buffer of `pool`. `None` if DATA finds no free buffer, or if there is no `pool`.
    pub fn new(datagram: &Datagram<'_>, pool: Option<&Arc<Pool>>) -> Option<Self> {
        let bytes = datagram.payload;
        // A block of an upload that was cut would look like the last block.
        let payload = match Packet::parse(bytes) {
            Ok(Packet::Data(..)) => Payload::Whole(pool?.copy(bytes)?),
            _ => Payload::Short(bytes.iter().copied().take(FORWARDED_PAYLOAD).collect()),
        };
        Some(Self { link: datagram.link, from: datagram.from, to: datagram.to, payload })
    }

    /// The copy, as a datagram.
    pub fn datagram(&self) -> Datagram<'_> {
        let payload = match &self.payload {
            Payload::Short(bytes) => bytes,
            Payload::Whole(buffer) => buffer.bytes(),
        };
        Datagram { link: self.link, from: self.from, to: self.to, payload }
    }
}

/// What other threads send to a worker.
#[derive(Debug)]
pub struct WorkerQueues {
    loaded: ArrayQueue<Loaded>,
    inbox_replies: ArrayQueue<(Id, InboxReply)>,
    forwarded: ArrayQueue<Forwarded>,
    file_requested: ArrayQueue<Mac>,
    waker: Waker,
}

impl WorkerQueues {
    /// Queues with room for two replies to each of `transfers` requests.
    ///
    /// # Errors
    /// If the process has no free file descriptors.
    pub fn new(transfers: usize) -> std::io::Result<Self> {
        Ok(Self {
            loaded: ArrayQueue::new(transfers.max(1) * 2),
            inbox_replies: ArrayQueue::new(INBOX_REPLIES_MAX),
            forwarded: ArrayQueue::new(FORWARDED_MAX),
            file_requested: ArrayQueue::new(FORWARDED_MAX),
            waker: Waker::new()?,
        })
    }

    /// Adds a reply of the loader. If the queue is full of replies to requests that were replaced meanwhile,
    /// the reply is lost. Then the request times out in the table, and the client asks again.
    pub fn push_loaded(&self, loaded: Loaded) {
        let _ = self.loaded.push(loaded);
        self.waker.wake();
    }

    /// Adds a reply of the inbox. If the reply is lost, the upload times out.
    pub fn push_inbox_reply(&self, id: Id, reply: InboxReply) {
        let _ = self.inbox_replies.push((id, reply));
        self.waker.wake();
    }

    /// Takes the next reply of the inbox.
    pub fn next_inbox_reply(&self) -> Option<(Id, InboxReply)> {
        self.inbox_replies.pop()
    }

    /// Adds a packet of the worker's transfer. Returns false if the queue is full.
    pub fn forward(&self, forwarded: Forwarded) -> bool {
        let sent = self.forwarded.push(forwarded).is_ok();
        self.waker.wake();
        sent
    }

    /// Reports that a machine has asked for a file. This does not wake the worker, which reads the queue
    /// whenever it wakes up. If the queue is full, the oldest report is lost.
    pub fn file_requested(&self, mac: Mac) {
        let _ = self.file_requested.force_push(mac);
    }

    /// Takes the next machine that asked for a file.
    pub fn next_file_request(&self) -> Option<Mac> {
        self.file_requested.pop()
    }

    /// Takes the next reply of the loader.
    pub fn next_loaded(&self) -> Option<Loaded> {
        self.loaded.pop()
    }

    /// Takes the next forwarded packet.
    pub fn next_forwarded(&self) -> Option<Forwarded> {
        self.forwarded.pop()
    }

    /// The waker of the worker that reads these queues.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }
}

/// A request to the loader.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it lies in a queue with places of one size, made at the start"
)]
pub enum LoaderRequest {
    /// Load a boot file, or generate it.
    Load {
        /// The worker's queues, which receive the reply.
        queues: Arc<WorkerQueues>,
        /// The slot of the request.
        id: Id,
        /// The file's name.
        name: FileName,
        /// The client. Some files are generated for each machine.
        peer: Peer,
        /// Our address, as the client used it.
        server: Ipv4Addr,
    },
    /// Put a file into the kernel. There is no reply; the cache shows when the file is there.
    Cache {
        /// The cache of the worker's interface.
        cache: Arc<OffloadCache>,
        /// The file.
        image: Arc<Image>,
        /// Bytes per block.
        blksize: u16,
    },
}

/// The queue of requests to the loader. All workers share it.
#[derive(Debug)]
pub struct LoaderQueue {
    requests: ArrayQueue<LoaderRequest>,
    waker: Waker,
}

impl LoaderQueue {
    /// A queue with room for `most` requests, at least one.
    ///
    /// # Errors
    /// If the process has no free file descriptors.
    pub fn new(most: usize) -> std::io::Result<Self> {
        Ok(Self { requests: ArrayQueue::new(most.max(1)), waker: Waker::new()? })
    }

    /// Adds a request. Returns false if the queue is full.
    pub fn push(&self, request: LoaderRequest) -> bool {
        let pushed = self.requests.push(request).is_ok();
        if pushed {
            self.waker.wake();
        }
        pushed
    }

    /// Takes the next request.
    pub fn pop(&self) -> Option<LoaderRequest> {
        self.requests.pop()
    }

    /// The waker of the loader thread.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }
}
