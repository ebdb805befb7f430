//! Requests that found no slot wait here, as long as their clients have patience.
//!
//! ```text
//!   RRQ --> silent --the same RRQ again--> alive --a slot is free: oldest first--> admitted
//!             | |                            +-----patience is over--------------> refused, by an ERROR
//!             | +--a slot is free and nobody is alive: oldest first--> admitted
//!             +----never asks again, or its place is needed----------> forgotten, without a word
//! ```
//!
//! Whoever asks again is alive: a forged request never does, since its sender does not know that it waits. So forged
//! requests neither keep real machines from slots, nor are ERRORs sent to the addresses that they were sent in the name
//! of. Everything is allocated at the start.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use super::timers::Timers;
use crate::time::Timestamp;

/// A client that has not asked again by now never will. U-Boot is the slowest, at 5 s; one of its requests may get lost.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(11);

/// Who asks again waits this long in any case. The least patient is iPXE: it asks at 0, 0.25, 0.75, 1.75, 3.75 and 7.75 s,
/// and gives up at 15.75 s (clients.md, section 2). An ERROR before that is still heard.
const PATIENCE: Duration = Duration::from_secs(15);

/// Who still asks after that is more patient (EDK2 24 s, GRUB 31 s, U-Boot 50 s, PXELINUX 131 s), and waits as long as it
/// is never silent for this long. At that age the others ask at least every 5 s, while iPXE is in its last 8 s of silence.
const SILENCE: Duration = Duration::from_secs(7);

/// Nobody waits longer. U-Boot and PXELINUX alone are still there to hear of it.
const PATIENCE_MAX: Duration = Duration::from_secs(45);

/// A request that waits; `W` is what the caller wants to find again.
#[derive(Debug)]
pub struct PendingEntry<W> {
    /// The client's TID.
    pub client: SocketAddrV4,
    /// Its request's fingerprint: see [`Table::fingerprint`](super::table::Table::fingerprint).
    pub request: u64,
    /// The caller's own.
    pub context: W,
    /// Its number in the order of arrival.
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

/// What becomes of a request that has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It has a place now.
    Waits,
    /// It has the place of one that never asked again, and that is forgotten.
    Displaces,
    /// Its client waits already, and is alive.
    Again,
    /// It replaces another request of its client, which keeps its place in the order.
    Changed,
    /// All places are taken by clients that are alive.
    NoPlace,
}

/// Why somebody waits no more.
#[derive(Debug)]
pub enum Dequeued<W> {
    /// It asked again, in vain.
    Refused(PendingEntry<W>),
    /// It never asked again.
    Forgotten(PendingEntry<W>),
}

/// The requests that wait: one for each client's address and port.
#[derive(Debug)]
pub struct PendingQueue<W> {
    places: Vec<Option<PendingEntry<W>>>,
    free: Vec<u32>,
    by_client: HashMap<SocketAddrV4, u32>,
    /// Those that asked once, and those that asked again, by their tickets.
    silent: Timers<u64>,
    alive: Timers<u64>,
    patience: Timers,
    next_ticket: u64,
}

impl<W> PendingQueue<W> {
    /// Room for so many clients.
    pub fn new(places: usize) -> Self {
        Self {
            places: (0..places).map(|_| None).collect(),
            free: (0..u32::try_from(places).unwrap_or(u32::MAX)).rev().collect(),
            // Twice as many: it need not grow to get rid of what is left of those that have gone.
            by_client: HashMap::with_capacity(places * 2),
            silent: Timers::new(places),
            alive: Timers::new(places),
            patience: Timers::new(places),
            next_ticket: 0,
        }
    }

    /// A request comes for which there is no slot. `request` is its fingerprint.
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
            // A machine that was reset: its patience is new.
            (entry.request, entry.context, entry.since) = (request, context, now);
        }
        self.patience.set(place, entry.patience_ends());
        if same { Enqueued::Again } else { Enqueued::Changed }
    }

    /// A slot is free: the next one leaves for it.
    pub fn pop(&mut self) -> Option<PendingEntry<W>> {
        let (_, place) = self.alive.first().or_else(|| self.silent.first())?;
        self.leave(place)
    }

    /// The next one whose patience is over; `None` when there is none at `now`.
    pub fn expire(&mut self, now: Timestamp) -> Option<Dequeued<W>> {
        let (_, place) = self.patience.first().filter(|(at, _)| *at <= now)?;
        let entry = self.leave(place)?;
        Some(if entry.alive { Dequeued::Refused(entry) } else { Dequeued::Forgotten(entry) })
    }

    /// When [`Self::expire`] wants to be called.
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

    /// Whether somebody waits who has asked again.
    pub fn anyone_alive(&self) -> bool {
        self.alive.first().is_some()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.by_client.is_empty()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.by_client.len()
    }
}

#[cfg(test)]
mod tests;
