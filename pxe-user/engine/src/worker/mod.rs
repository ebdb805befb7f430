//! A worker: the only place where a datapath, the responder and the clock meet.
//!
//! One thread for each receive queue (or for all sockets of an interface). Threads share nothing on the hot path; what
//! must cross goes through bounded lock-free [mailboxes](mail), a handful of messages in a boot.
//!
//! ```text
//! loop:  receive a batch -> handle each -> mail -> timers -> flush what was sent;   nothing there? publish, wait
//! ```

mod bell;
pub mod door;
pub mod loader;
pub mod mail;
pub mod offload;
pub mod pool;
pub mod shelf;
pub mod sockets;
pub mod uploads;
pub mod xdp;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::pulse::Pulse;
use crate::responder::{Baton, Blocks, Carried, Given, Host, Offer, Responder, Route, Ticket, UploadName};
use crate::tally::{Other, Published, Tally};
use mail::{Forwarded, LoaderQueue, Mailbox, Order};
use offload::Offload;
use pool::Pool;
use pxe_content::boot::FileName;
use pxe_fleet::event::{Event, Peer};
use pxe_fleet::handle::FleetHandle;
use pxe_proto::datagram::Datagram;
use pxe_proto::mac::Mac;
use pxe_proto::tftp::reception::Taken;
use pxe_proto::tftp::table::{Id, TidPorts};
use pxe_proto::time::Timestamp;
use uploads::UploadQueue;

/// The longest that a worker sleeps: counters are published at least this often.
const NAP_MAX: Duration = Duration::from_millis(500);

/// The sending side of a datapath.
pub trait Net {
    /// See [`Host::control`].
    fn control(&mut self, route: &Route, payload: &[u8]);
    /// See [`Host::data`].
    fn data(&mut self, route: &Route, blocks: &Blocks<'_>) -> u64;
    /// See [`Host::open`].
    fn open(&mut self, client: SocketAddrV4, port: u16, slot: u32) -> bool;
    /// See [`Host::close`].
    fn close(&mut self, client: SocketAddrV4, port: u16);
    /// The kernel, where it can carry transfers on.
    fn offload(&mut self) -> Option<&mut Offload> {
        None
    }
}

/// What a datapath found in a batch.
pub enum Received<'a> {
    /// A datagram.
    Datagram(Datagram<'a>),
    /// A frame that holds none.
    Bad(pxe_proto::datagram::BadFrame),
}

/// What a datapath has lost since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Frames that the kernel dropped since we had not read the earlier ones.
    pub ring_full: u64,
    /// Times that the kernel found no free chunk for a frame.
    pub fill_ring_empty: u64,
    /// Frames that it dropped for other reasons.
    pub dropped: u64,
    /// Packets that it would not send.
    pub not_sent: u64,
}

/// Receives and sends datagrams.
pub trait Datapath: Send + 'static {
    /// Its sending side.
    type Net: Net;

    /// Takes a batch; returns how many frames or datagrams there were.
    fn receive(&mut self, take: &mut dyn FnMut(Received<'_>, &mut Self::Net)) -> usize;

    /// The sending side, for what is not an answer to a datagram at hand.
    fn net(&mut self) -> &mut Self::Net;

    /// Sends what is queued.
    fn flush(&mut self);

    /// What it could not take or send so far.
    fn losses(&self) -> Losses;

    /// Sockets with which another process of ours can go on, if there are any such.
    ///
    /// # Errors
    /// When there are no more descriptors.
    fn descriptors(&self) -> std::io::Result<Vec<OwnedFd>> {
        Ok(Vec::new())
    }

    /// Sleeps until something comes, `other` becomes readable, or the time is over; says whether `other` is.
    fn wait(&mut self, other: BorrowedFd<'_>, most: Duration) -> bool;
}

/// What a worker has beside its datapath and its responder.
pub struct Surroundings {
    /// Its number among the workers of its interface.
    pub index: usize,
    /// The TIDs of all workers of the interface.
    pub all_ports: TidPorts,
    /// The mailboxes of the interface's workers, its own included.
    pub mailboxes: Arc<[Arc<Mailbox>]>,
    /// Where files are asked for.
    pub loader: Arc<LoaderQueue>,
    /// Where uploads go, if any are taken.
    pub uploads: Option<Arc<UploadQueue>>,
    /// Where events go.
    pub fleet: FleetHandle,
    /// Where counters are shown.
    pub published: Published,
    /// Who knows whose an address is.
    pub neighbour: fn(Ipv4Addr) -> Option<Mac>,
    /// The time.
    pub clock: Clock,
    /// Its sign of life.
    pub pulse: Pulse,
}

impl Surroundings {
    fn mailbox(&self) -> &Mailbox {
        &self.mailboxes[self.index]
    }

    /// Whose transfer a packet to `port` belongs to, if not ours.
    fn owner(&self, ports: TidPorts, port: u16) -> Option<&Mailbox> {
        if ports.contains(port) || !self.all_ports.contains(port) {
            return None;
        }
        let index = usize::from((port - self.all_ports.first) / ports.count.max(1));
        self.mailboxes.get(index).filter(|_| index != self.index).map(Arc::as_ref)
    }
}

/// The responder's view of the world: one datapath's sending side and the surroundings.
struct View<'a, N> {
    net: &'a mut N,
    surroundings: &'a Surroundings,
    lost: &'a mut u64,
}

impl<N: Net> Host for View<'_, N> {
    fn control(&mut self, route: &Route, payload: &[u8]) {
        self.net.control(route, payload);
    }

    fn data(&mut self, route: &Route, blocks: &Blocks<'_>) -> u64 {
        self.net.data(route, blocks)
    }

    fn open(&mut self, client: SocketAddrV4, port: u16, slot: u32) -> bool {
        self.net.open(client, port, slot)
    }

    fn close(&mut self, client: SocketAddrV4, port: u16) {
        self.net.close(client, port);
    }

    fn load(&mut self, id: Id, name: &FileName, peer: Peer, server: Ipv4Addr) -> bool {
        let mailbox = Arc::clone(&self.surroundings.mailboxes[self.surroundings.index]);
        self.surroundings.loader.push(Order::Load { mailbox, id, name: *name, peer, server })
    }

    fn put(&mut self, id: Id, ticket: &Ticket, name: &UploadName, peer: Peer) -> bool {
        let mailbox = &self.surroundings.mailboxes[self.surroundings.index];
        let uploads = self.surroundings.uploads.as_ref();
        uploads.is_some_and(|uploads| uploads.put(mailbox, id, ticket, name, peer))
    }

    fn store(&mut self, ticket: &Ticket, bytes: &[u8], last: bool) -> Taken {
        let uploads = self.surroundings.uploads.as_ref();
        uploads.map_or(Taken::No, |uploads| uploads.store(ticket, bytes, last))
    }

    fn give(&mut self, offer: &Offer<'_>) -> Given {
        self.net.offload().map_or(Given::Never, |offload| offload.give(offer))
    }

    fn look(&mut self, id: Id) -> Option<Carried> {
        self.net.offload()?.look(id)
    }

    fn take(&mut self, id: Id) -> Option<Carried> {
        self.net.offload()?.take(id)
    }

    fn arrived(&mut self, arrived: bool) {
        if let Some(offload) = self.net.offload() {
            offload.arrived(arrived);
        }
    }

    fn neighbour(&mut self, address: Ipv4Addr) -> Option<Mac> {
        (self.surroundings.neighbour)(address)
    }

    fn understood(&mut self, mac: Mac) {
        // The first worker gets the copies of all broadcasts, and so all DISCOVERs.
        if self.surroundings.index != 0 {
            self.surroundings.mailboxes[0].understood(mac);
        }
    }

    fn record(&mut self, event: Event) {
        *self.lost += u64::from(self.surroundings.fleet.record(event).is_err());
    }
}

/// What a worker leaves to another process of ours.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Its transfers.
    pub batons: Vec<Baton>,
    /// See [`Datapath::descriptors`].
    pub descriptors: Vec<OwnedFd>,
}

/// A thread's work.
pub struct Worker<D> {
    datapath: D,
    responder: Responder,
    surroundings: Surroundings,
    journal_lost: u64,
    publish_next: Timestamp,
}

impl<D: Datapath> Worker<D> {
    /// A worker that is ready to [run](Self::run).
    pub fn new(datapath: D, responder: Responder, surroundings: Surroundings) -> Self {
        Self { datapath, responder, surroundings, journal_lost: 0, publish_next: Timestamp::default() }
    }

    /// Goes on with another daemon's transfers; returns those with which that is impossible.
    pub fn resume(&mut self, batons: Vec<Baton>) -> Vec<Baton> {
        let now = self.surroundings.clock.now();
        let Self { datapath, responder, surroundings, journal_lost, .. } = self;
        let mut view = View { net: datapath.net(), surroundings, lost: journal_lost };
        batons.into_iter().filter(|baton| !responder.resume(now, baton.clone(), &mut view)).collect()
    }

    /// Works until its mailbox says stop; what is left can be gone on with.
    pub fn run(mut self) -> Leftovers {
        while !self.surroundings.mailbox().door().is_stopped() {
            let received = self.turn();
            let now = self.surroundings.clock.now();
            self.surroundings.pulse.beat(now);
            if now >= self.publish_next {
                self.publish_next = now + NAP_MAX;
                self.publish();
            }
            if received == 0 {
                self.sleep(now);
            }
        }
        self.datapath.flush();
        let Self { datapath, responder, surroundings, journal_lost, .. } = &mut self;
        let mut view = View { net: datapath.net(), surroundings, lost: journal_lost };
        let batons = responder.pass_on(&mut view);
        self.publish();
        Leftovers { batons, descriptors: self.datapath.descriptors().unwrap_or_default() }
    }

    /// One turn of the loop; returns how much came in.
    fn turn(&mut self) -> usize {
        let now = self.surroundings.clock.now();
        let Self { datapath, responder, surroundings, journal_lost, .. } = self;
        let received = datapath.receive(&mut |received, net| match received {
            Received::Bad(bad) => responder.tally_mut().count(bad),
            Received::Datagram(datagram) => match surroundings.owner(responder.ports(), datagram.to.port()) {
                Some(mailbox) => {
                    let pool = surroundings.uploads.as_ref().map(|uploads| uploads.pool());
                    forward(mailbox, &datagram, pool, responder.tally_mut());
                }
                None => {
                    let mut view = View { net, surroundings, lost: journal_lost };
                    responder.handle(now, &datagram, &mut view);
                }
            },
        });
        let mut view = View { net: datapath.net(), surroundings, lost: journal_lost };
        let mail = read_mail(now, responder, &mut view);
        if responder.next_deadline().is_some_and(|deadline| deadline <= now) {
            responder.poll(now, &mut view);
        }
        datapath.flush();
        received + mail
    }

    fn publish(&mut self) {
        let now = self.surroundings.clock.now();
        let Self { datapath, responder, surroundings, journal_lost, .. } = self;
        let mut view = View { net: datapath.net(), surroundings, lost: journal_lost };
        responder.tell_progress(now, &mut view);
        self.surroundings.published.show_load(self.responder.active(), self.responder.waiting());
        let lost = std::mem::take(&mut self.journal_lost);
        let losses = self.datapath.losses();
        let tally = self.responder.tally_mut();
        tally.add(Other::JournalLost, lost);
        tally.set(Other::RingFull, losses.ring_full);
        tally.set(Other::FillRingEmpty, losses.fill_ring_empty);
        tally.set(Other::SocketDropped, losses.dropped);
        tally.set(Other::NotSent, losses.not_sent);
        self.responder.tally().publish(&self.surroundings.published);
    }

    fn sleep(&mut self, now: Timestamp) {
        let nap = self.responder.next_deadline().map_or(NAP_MAX, |deadline| deadline.since(now).min(NAP_MAX));
        let mailbox = Arc::clone(&self.surroundings.mailboxes[self.surroundings.index]);
        if self.datapath.wait(mailbox.door().bell().as_fd(), nap) {
            mailbox.door().quiet();
        }
    }
}

fn forward(mailbox: &Mailbox, datagram: &Datagram<'_>, pool: Option<&Arc<Pool>>, tally: &mut Tally) {
    let sent = Forwarded::new(datagram, pool).is_some_and(|forwarded| mailbox.forward(forwarded));
    tally.count(if sent { Other::Forwarded } else { Other::ForwardLost });
}

fn read_mail<N: Net>(now: Timestamp, responder: &mut Responder, view: &mut View<'_, N>) -> usize {
    let mailbox = view.surroundings.mailbox();
    let mut count = 0;
    while let Some(loaded) = mailbox.next_loaded() {
        count += 1;
        responder.loaded(now, loaded.id, &loaded.name, loaded.file, view);
    }
    while let Some((id, filed)) = mailbox.next_filed() {
        count += 1;
        responder.filed(now, id, filed, view);
    }
    while let Some(mac) = mailbox.next_understood() {
        responder.understood(mac);
    }
    while let Some(forwarded) = mailbox.next_forwarded() {
        count += 1;
        responder.handle(now, &forwarded.datagram(), view);
    }
    count
}
