//! A worker: the only place where a datapath, the responder and the clock meet.
//!
//! There is one worker thread for each receive queue, or one for all sockets of an interface. Workers share
//! nothing on the hot path. Messages between threads go through the bounded lock-free [`queues`]: a few
//! messages in a boot.
//!
//! ```text
//! loop:  receive a batch -> handle each -> read the queues -> timers -> flush -> publish, if due
//!        -> sleep, if nothing was received
//! ```
//!
//! A worker takes no lock and never waits for a disk. It is the only reader of its receive queue, so all
//! machines of that queue would wait with it.

mod event_fd;
mod host;
pub mod loader;
pub mod offload;
pub mod offload_cache;
pub mod pool;
pub mod queues;
mod readiness;
pub mod sockets;
pub mod upload_writer;
pub mod waker;
pub mod xdp;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::counters::{Counter, Counters, PublishedCounters};
use crate::heartbeat::{BEAT_EVERY, Heartbeat};
use crate::responder::{Blocks, Responder, Route, TransferSnapshot};
use host::WorkerHost;
use offload::Offload;
use pool::Pool;
use pxe_fleet::handle::FleetHandle;
use pxe_proto::datagram::Datagram;
use pxe_proto::mac::Mac;
use pxe_proto::tftp::table::TidPorts;
use pxe_proto::time::Timestamp;
use queues::{Forwarded, LoaderQueue, WorkerQueues};
use upload_writer::UploadQueue;

/// Longest sleep of a worker with transfers, and the time between two publications of its counters.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// The sending side of a datapath.
pub trait Net {
    /// See [`Transmit::control`](crate::responder::Transmit::control).
    fn control(&mut self, route: &Route, payload: &[u8]);
    /// See [`Transmit::data`](crate::responder::Transmit::data).
    fn data(&mut self, route: &Route, blocks: &Blocks<'_>) -> u64;
    /// See [`Transmit::open`](crate::responder::Transmit::open).
    fn open(&mut self, client: SocketAddrV4, port: u16, slot: u32) -> bool;
    /// See [`Transmit::close`](crate::responder::Transmit::close).
    fn close(&mut self, client: SocketAddrV4, port: u16);
    /// The kernel offload, if this datapath has one.
    fn offload(&mut self) -> Option<&mut Offload> {
        None
    }
}

/// One item of a batch that a datapath received.
pub enum Received<'a> {
    /// A datagram.
    Datagram(Datagram<'a>),
    /// A frame that holds no valid datagram.
    Bad(pxe_proto::datagram::BadFrame),
}

/// What a datapath has lost since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatapathDrops {
    /// Frames that the kernel dropped because the worker had not yet read the earlier ones.
    pub ring_full: u64,
    /// How often the kernel found no free chunk for a frame.
    pub fill_ring_empty: u64,
    /// Frames that the kernel dropped for other reasons.
    pub dropped: u64,
    /// Packets that found no room in the send queue, or that the kernel refused to send.
    pub not_sent: u64,
}

/// A way to receive and send datagrams: AF_XDP, or plain sockets.
pub trait Datapath: Send + 'static {
    /// The sending side.
    type Net: Net;

    /// Receives a batch and calls `take` for each frame or datagram. Returns how many there were.
    fn receive(&mut self, take: &mut dyn FnMut(Received<'_>, &mut Self::Net)) -> usize;

    /// The sending side, for packets that do not reply to a datagram of the present batch.
    fn net(&mut self) -> &mut Self::Net;

    /// Sends what is queued.
    fn flush(&mut self);

    /// What this datapath has lost so far.
    fn losses(&self) -> DatapathDrops;

    /// Sockets from which another pxed process can continue. Empty if this datapath hands no sockets over.
    ///
    /// # Errors
    /// If the process has no free file descriptors.
    fn descriptors(&self) -> std::io::Result<Vec<OwnedFd>> {
        Ok(Vec::new())
    }

    /// Sleeps until a packet arrives, `other` becomes readable, or `most` has passed. Returns whether `other`
    /// is readable.
    fn wait(&mut self, other: BorrowedFd<'_>, most: Duration) -> bool;
}

/// What a worker needs, except its datapath and its responder.
pub struct WorkerDeps {
    /// Index of this worker among the workers of its interface.
    pub index: usize,
    /// The TIDs of all workers of the interface together.
    pub all_ports: TidPorts,
    /// The queues of all workers of the interface, indexed by [`Self::index`].
    pub queues: Arc<[Arc<WorkerQueues>]>,
    /// The queue of requests to the loader.
    pub loader: Arc<LoaderQueue>,
    /// The queue of uploads to the inbox's thread. `None` if uploads are not configured.
    pub uploads: Option<Arc<UploadQueue>>,
    /// The fleet, which receives the events.
    pub fleet: FleetHandle,
    /// Where the worker publishes its counters.
    pub published: PublishedCounters,
    /// Looks up the Ethernet address of an IPv4 address in the host's neighbour table.
    pub neighbour: fn(Ipv4Addr) -> Option<Mac>,
    /// The daemon's clock.
    pub clock: Clock,
    /// This worker's heartbeat.
    pub heartbeat: Heartbeat,
}

impl WorkerDeps {
    fn queues(&self) -> &WorkerQueues {
        &self.queues[self.index]
    }

    /// The queues of the worker whose transfer a packet to `port` belongs to. `None` if it is ours or no
    /// worker's.
    fn owner(&self, ports: TidPorts, port: u16) -> Option<&WorkerQueues> {
        if ports.contains(port) || !self.all_ports.contains(port) {
            return None;
        }
        let index = usize::from((port - self.all_ports.first) / ports.count.max(1));
        self.queues.get(index).filter(|_| index != self.index).map(Arc::as_ref)
    }
}

/// What a worker hands over to the next pxed process.
#[derive(Debug, Default)]
pub struct WorkerHandover {
    /// Snapshots of its transfers.
    pub snapshots: Vec<TransferSnapshot>,
    /// The sockets: see [`Datapath::descriptors`].
    pub descriptors: Vec<OwnedFd>,
}

/// A datapath and a responder, run by one thread.
pub struct Worker<D> {
    datapath: D,
    responder: Responder,
    deps: WorkerDeps,
    journal_lost: u64,
    publish_next: Timestamp,
    /// Something has happened that the published counters do not show yet.
    unpublished: bool,
}

impl<D: Datapath> Worker<D> {
    /// A worker that is ready to [run](Self::run).
    pub fn new(datapath: D, responder: Responder, deps: WorkerDeps) -> Self {
        Self {
            datapath,
            responder,
            deps,
            journal_lost: 0,
            publish_next: Timestamp::default(),
            unpublished: true,
        }
    }

    /// Resumes transfers of another daemon. Returns those that it cannot resume.
    pub fn resume(&mut self, snapshots: Vec<TransferSnapshot>) -> Vec<TransferSnapshot> {
        let now = self.deps.clock.now();
        let Self { datapath, responder, deps, journal_lost, .. } = self;
        let mut host = WorkerHost { net: datapath.net(), deps, lost: journal_lost };
        snapshots.into_iter().filter(|snapshot| !responder.resume(now, snapshot.clone(), &mut host)).collect()
    }

    /// Runs until another thread calls [`Waker::stop`](waker::Waker::stop). Returns what the next process
    /// needs to resume the transfers.
    pub fn run(mut self) -> WorkerHandover {
        while !self.deps.queues().waker().is_stopped() {
            let received = self.turn();
            let now = self.deps.clock.now();
            self.deps.heartbeat.beat(now);
            self.unpublished |= received > 0;
            if now >= self.publish_next {
                self.publish_next = now + SLEEP_MAX;
                self.publish();
                self.unpublished = false;
            }
            if received == 0 {
                self.sleep(now);
            }
        }
        self.datapath.flush();
        let Self { datapath, responder, deps, journal_lost, .. } = &mut self;
        let mut host = WorkerHost { net: datapath.net(), deps, lost: journal_lost };
        let snapshots = responder.pass_on(&mut host);
        self.publish();
        WorkerHandover { snapshots, descriptors: self.datapath.descriptors().unwrap_or_default() }
    }

    /// One turn of the loop. Returns the number of frames, datagrams and messages that came in.
    fn turn(&mut self) -> usize {
        let now = self.deps.clock.now();
        let Self { datapath, responder, deps, journal_lost, .. } = self;
        let received = datapath.receive(&mut |received, net| match received {
            Received::Bad(bad) => responder.counters_mut().count(bad),
            Received::Datagram(datagram) => match deps.owner(responder.ports(), datagram.to.port()) {
                Some(queues) => {
                    let pool = deps.uploads.as_ref().map(|uploads| uploads.pool());
                    forward(queues, &datagram, pool, responder.counters_mut());
                }
                None => {
                    let mut host = WorkerHost { net, deps, lost: journal_lost };
                    responder.handle(now, &datagram, &mut host);
                }
            },
        });
        let mut host = WorkerHost { net: datapath.net(), deps, lost: journal_lost };
        let messages = read_queues(now, responder, &mut host);
        if responder.next_deadline().is_some_and(|deadline| deadline <= now) {
            responder.poll(now, &mut host);
            // A time-out may have ended the last transfer.
            self.unpublished = true;
        }
        datapath.flush();
        received + messages
    }

    fn publish(&mut self) {
        let now = self.deps.clock.now();
        let Self { datapath, responder, deps, journal_lost, .. } = self;
        let mut host = WorkerHost { net: datapath.net(), deps, lost: journal_lost };
        responder.report_progress(now, &mut host);
        self.deps.published.show_load(self.responder.active(), self.responder.pending());
        let lost = std::mem::take(&mut self.journal_lost);
        let losses = self.datapath.losses();
        let counters = self.responder.counters_mut();
        counters.add(Counter::JournalLost, lost);
        counters.set(Counter::RingFull, losses.ring_full);
        counters.set(Counter::FillRingEmpty, losses.fill_ring_empty);
        counters.set(Counter::SocketDropped, losses.dropped);
        counters.set(Counter::NotSent, losses.not_sent);
        self.responder.counters().publish(&self.deps.published);
    }

    fn sleep(&mut self, now: Timestamp) {
        // The kernel may answer for a transfer, so its progress is published although nothing is received.
        let is_idle = !self.unpublished && self.responder.active() == 0 && self.responder.pending() == 0;
        let most = if is_idle { BEAT_EVERY } else { SLEEP_MAX };
        let nap = self.responder.next_deadline().map_or(most, |deadline| deadline.since(now).min(most));
        let queues = Arc::clone(&self.deps.queues[self.deps.index]);
        if self.datapath.wait(queues.waker().event_fd().as_fd(), nap) {
            queues.waker().clear();
        }
    }
}

fn forward(
    queues: &WorkerQueues,
    datagram: &Datagram<'_>,
    pool: Option<&Arc<Pool>>,
    counters: &mut Counters,
) {
    let sent = Forwarded::new(datagram, pool).is_some_and(|forwarded| queues.forward(forwarded));
    counters.count(if sent { Counter::Forwarded } else { Counter::ForwardLost });
}

fn read_queues<N: Net>(now: Timestamp, responder: &mut Responder, host: &mut WorkerHost<'_, N>) -> usize {
    let queues = host.deps.queues();
    let mut count = 0;
    while let Some(loaded) = queues.next_loaded() {
        count += 1;
        responder.loaded(now, loaded.id, &loaded.name, loaded.file, host);
    }
    while let Some((id, reply)) = queues.next_inbox_reply() {
        count += 1;
        responder.on_inbox_reply(now, id, reply, host);
    }
    while let Some(mac) = queues.next_file_request() {
        count += 1;
        responder.file_requested(mac);
    }
    while let Some(forwarded) = queues.next_forwarded() {
        count += 1;
        responder.handle(now, &forwarded.datagram(), host);
    }
    count
}
