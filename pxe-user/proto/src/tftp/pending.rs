//! Requests for which there is no slot. They wait here until a slot is free, or until their clients are about
//! to give up.
//!
//! ```text
//!   RRQ --> silent --same RRQ again--> alive --slot free: oldest first--> admitted
//!             | |                        +-----wait is over-------------> refused with an ERROR
//!             | +--slot free and no request is alive: oldest first--> admitted
//!             +----not repeated in time, or its place is needed-----> forgotten, no packet
//! ```
//!
//! A request that is repeated is *alive*: the sender of a forged request never repeats it, because it does
//! not learn that the request waits. So forged requests do not keep real machines from slots, and pxed sends
//! no ERROR to a forged address. docs/decisions/0018 has the reasons.
//!
//! All memory is allocated at the start. The TFTP service calls [`PendingQueue::ask`] when the
//! [table](super::table) is full, and [`PendingQueue::pop`] when a slot is free.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use super::timers::Timers;
use crate::time::Timestamp;

/// A client that has not repeated its request after this time never will. U-Boot has the longest interval,
/// 5 s; one repeat may be lost.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(11);

/// Minimum wait of a client that repeats its request. iPXE gives up first: it sends at 0, 0.25, 0.75, 1.75,
/// 3.75 and 7.75 s, and gives up at 15.75 s (clients.md, section 2). An ERROR before that time still reaches
/// it.
const PATIENCE: Duration = Duration::from_secs(15);

/// A client that still repeats its request after [`PATIENCE`] waits longer than iPXE (EDK2 24 s, GRUB 31 s,
/// U-Boot 50 s, PXELINUX 131 s). Its request stays as long as the gap between two repeats is shorter than
/// this. At that age these clients send at least every 5 s, and iPXE is in its last 8 s, in which it sends
/// nothing.
const SILENCE: Duration = Duration::from_secs(7);

/// Maximum wait. After this time only U-Boot and PXELINUX still receive the ERROR.
const PATIENCE_MAX: Duration = Duration::from_secs(45);

/// A waiting request. `W` is the data of the caller.
#[derive(Debug)]
pub struct PendingEntry<W> {
    /// The address and port (TID) of the client.
    pub client: SocketAddrV4,
    /// The fingerprint of the request: see [`Table::fingerprint`](super::table::Table::fingerprint).
    pub request: u64,
    /// The data of the caller, unchanged.
    pub context: W,
    /// Its number in the order of arrival. A changed request keeps the number.
    ticket: u64,
    since: Timestamp,
    heard: Timestamp,
    alive: bool,
}

impl<W> PendingEntry<W> {
    fn patience_ends(&self) -> Timestamp {
        if self.alive {
            let asks = (self.since + PATIENCE).max(self.heard + SILENCE);
            asks.min(self.since + PATIENCE_MAX)
        } else {
            self.since + FORGOTTEN_AFTER
        }
    }
}

/// What [`PendingQueue::ask`] did with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// The request is queued.
    Waits,
    /// The request is queued. The oldest request that was never repeated was dropped for it.
    Displaces,
    /// The same request of this client waits already. It is alive now.
    Again,
    /// The request replaces another request of the same client, and keeps its place in the order.
    Changed,
    /// The queue is full of requests that are alive. The request is not queued.
    NoPlace,
}

/// Why a request leaves the queue without a slot.
#[derive(Debug)]
pub enum Dequeued<W> {
    /// The client repeated the request. It gets an ERROR.
    Refused(PendingEntry<W>),
    /// The client never repeated the request. It gets no packet.
    Forgotten(PendingEntry<W>),
}

/// The waiting requests: at most one for each client address and port.
#[derive(Debug)]
pub struct PendingQueue<W> {
    places: Vec<Option<PendingEntry<W>>>,
    free: Vec<u32>,
    by_client: HashMap<SocketAddrV4, u32>,
    /// The requests that were not repeated, and those that were, each in order of arrival.
    silent: Timers<u64>,
    alive: Timers<u64>,
    patience: Timers,
    next_ticket: u64,
}

impl<W> PendingQueue<W> {
    /// Creates a queue for `places` requests.
    pub fn new(places: usize) -> Self {
        Self {
            places: (0..places).map(|_| None).collect(),
            free: (0..u32::try_from(places).unwrap_or(u32::MAX)).rev().collect(),
            // The map has twice the capacity. Removed entries leave tombstones, which hashbrown clears
            // without growing only if at most half of the capacity is in use.
            by_client: HashMap::with_capacity(places * 2),
            silent: Timers::new(places),
            alive: Timers::new(places),
            patience: Timers::new(places),
            next_ticket: 0,
        }
    }

    /// Queues a request for which there is no slot. `request` is its fingerprint.
    pub fn ask(&mut self, now: Timestamp, client: SocketAddrV4, request: u64, context: W) -> Enqueued {
        if let Some(&place) = self.by_client.get(&client) {
            return self.ask_again(now, place, request, context);
        }
        let full = self.free.is_empty();
        if full && let Some((_, oldest)) = self.silent.first() {
            self.leave(oldest);
        }
        let Some(place) = self.free.pop() else { return Enqueued::NoPlace };
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let entry = PendingEntry { client, request, context, ticket, since: now, heard: now, alive: false };
        self.by_client.insert(client, place);
        self.silent.set(place, ticket);
        self.patience.set(place, entry.patience_ends());
        self.places[place as usize] = Some(entry);
        if full { Enqueued::Displaces } else { Enqueued::Waits }
    }

    fn ask_again(&mut self, now: Timestamp, place: u32, request: u64, context: W) -> Enqueued {
        let Some(entry) = &mut self.places[place as usize] else { return Enqueued::NoPlace };
        let same = entry.request == request;
        entry.heard = now;
        if same {
            entry.alive = true;
            self.silent.clear(place);
            self.alive.set(place, entry.ticket);
        } else {
            // A machine that was reset: its wait starts again.
            (entry.request, entry.context, entry.since) = (request, context, now);
        }
        self.patience.set(place, entry.patience_ends());
        if same { Enqueued::Again } else { Enqueued::Changed }
    }

    /// Removes and returns the next request for a free slot: the oldest that is alive, or else the oldest.
    pub fn pop(&mut self) -> Option<PendingEntry<W>> {
        let (_, place) = self.alive.first().or_else(|| self.silent.first())?;
        self.leave(place)
    }

    /// Removes and returns the next request whose wait is over; `None` if there is none at `now`.
    pub fn expire(&mut self, now: Timestamp) -> Option<Dequeued<W>> {
        let (_, place) = self.patience.first().filter(|(at, _)| *at <= now)?;
        let entry = self.leave(place)?;
        Some(if entry.alive { Dequeued::Refused(entry) } else { Dequeued::Forgotten(entry) })
    }

    /// When the caller must call [`Self::expire`]; `None` if no request waits.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.patience.first().map(|(at, _)| at)
    }

    fn leave(&mut self, place: u32) -> Option<PendingEntry<W>> {
        let entry = self.places[place as usize].take()?;
        self.by_client.remove(&entry.client);
        self.silent.clear(place);
        self.alive.clear(place);
        self.patience.clear(place);
        self.free.push(place);
        Some(entry)
    }

    /// Whether a waiting request was repeated. Only such a request may end the transfer of a client that
    /// never answered.
    pub fn anyone_alive(&self) -> bool {
        self.alive.first().is_some()
    }

    /// Whether no request waits.
    pub fn is_empty(&self) -> bool {
        self.by_client.is_empty()
    }

    /// The number of waiting requests.
    pub fn len(&self) -> usize {
        self.by_client.len()
    }
}

#[cfg(test)]
mod tests;
