//! All transfers of one worker, to clients and from them: known by their TIDs, with one timer for all.
//!
//! Everything is allocated at the start; a request takes a slot, the end gives it back. A client's address and port
//! name one transfer at a time, so that a repeated RRQ finds its session and a new one replaces the old.

mod dallying;
mod entry;
mod ids;
mod resume;
mod unverified_peer;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddrV4;
use std::time::Duration;

pub use entry::Entry;
pub use ids::{Id, TidPorts};

use super::negotiation::NegotiatedOptions;
use super::packet::ErrorCode;
use super::receive_session::ReceiveSession;
use super::send_session::{Ignored, Outcome, SendSession, Step};
use super::session::Session;
use super::timers::Timers;
use crate::time::Timestamp;

/// A file that is not found, or has no place, in this time is given up: no slot waits for ever for a loader that lost its request.
const LOADING_MAX: Duration = Duration::from_secs(30);

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// It has a slot. If it replaced an earlier transfer of the same client, that one is named with its end.
    Admitted(Id),
    /// It is a copy of a request whose transfer is under way.
    Duplicate,
    /// The limit is reached.
    Full,
}

/// All transfers of one worker.
#[derive(Debug)]
pub struct Table<C> {
    slots: Vec<Option<Entry<C>>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    /// Strangers choose the keys, so the hash is keyed: the standard library's SipHash-1-3. A lookup for each packet costs
    /// about 15 ns of the microsecond or so that the packet does; faster hashes promise less against chosen keys.
    by_client: HashMap<SocketAddrV4, u32>,
    /// Ended transfers, oldest first: the first to give way. Some may be gone already.
    dallying: VecDeque<Id>,
    /// Transfers whose clients were never heard after their requests, oldest first. Some may have been heard meanwhile.
    unverified: VecDeque<Id>,
    timers: Timers,
    hasher: RandomState,
    ports: TidPorts,
    /// Counts the TIDs that were given out.
    given: u64,
    limit: usize,
    active: usize,
}

impl<C> Table<C> {
    /// Most bytes that a slot costs: its entry, and its share of all lists.
    pub const SLOT_BYTES: usize = {
        // The map has a power of two of buckets with one byte more for each, of which up to 7/8 are used: so there are
        // less than 16/7 buckets for each slot.
        let by_client = (size_of::<(SocketAddrV4, u32)>() + 1) * 16 / 7 + 1;
        let generation_and_free = 2 * size_of::<u32>();
        let dallying_and_unheard = 3 * size_of::<Id>();
        size_of::<Option<Entry<C>>>()
            + by_client
            + generation_and_free
            + dallying_and_unheard
            + Timers::<Timestamp>::BYTES_EACH
    };

    /// Slots of a table for `limit` transfers: dallying ones hold slots, too; they give way when room is short.
    pub fn slots(limit: usize) -> usize {
        limit * 2
    }

    /// Room for `limit` transfers at a time, with TIDs from `ports`.
    pub fn new(limit: usize, ports: TidPorts) -> Self {
        let slots = Self::slots(limit);
        Self {
            slots: (0..slots).map(|_| None).collect(),
            generations: vec![0; slots],
            free: (0..u32::try_from(slots).unwrap_or(u32::MAX)).rev().collect(),
            by_client: HashMap::with_capacity(slots),
            dallying: VecDeque::with_capacity(slots * 2),
            unverified: VecDeque::with_capacity(slots),
            timers: Timers::new(slots),
            hasher: RandomState::new(),
            ports,
            given: 0,
            limit,
            active: 0,
        }
    }

    /// What a request is known by when it comes again: a keyed hash of its payload.
    pub fn fingerprint(&self, request: &[u8]) -> u64 {
        self.hasher.hash_one(request)
    }

    /// Whether a request needs no slot: its client has one that it keeps, or it is a late copy.
    pub fn is_known(&self, now: Timestamp, client: SocketAddrV4, request: u64) -> bool {
        let entry = self.of_client(client).and_then(|id| self.get(id));
        entry.is_some_and(|entry| !entry.dallies() || entry.is_copy(now, request))
    }

    /// Whether a slot is free.
    pub fn has_room(&self) -> bool {
        self.active < self.limit
    }

    /// Takes a slot for a request. `request` is its fingerprint; `replaced` is told of a transfer that the same client
    /// had and that ends now.
    pub fn admit(
        &mut self,
        now: Timestamp,
        client: SocketAddrV4,
        request: u64,
        context: C,
        mut replaced: impl FnMut(&Entry<C>, Option<Outcome>),
    ) -> Admission {
        let mut old = None;
        if let Some(&slot) = self.by_client.get(&client) {
            let Some(entry) = self.entry_mut(slot) else { return Admission::Full };
            old = Some(entry.port);
            if entry.is_copy(now, request) {
                self.ask_again(now, slot);
                return Admission::Duplicate;
            }
            let dallied = entry.dallies();
            let end = entry.session.as_mut().map_or(Step::End(Outcome::Superseded), Session::supersede);
            let ends_now = entry.dallies() && !dallied;
            let ended = match end {
                Step::End(outcome) => Some(outcome),
                _ => None,
            };
            self.active -= usize::from(ends_now);
            if let Some(entry) = self.remove(slot) {
                replaced(&entry, ended);
            }
        }
        if !self.has_room() {
            return Admission::Full;
        }
        if self.free.is_empty()
            && let Some(entry) = self.evict()
        {
            replaced(&entry, None);
        }
        let port = self.next_port(client, old);
        let Some(id) = self.occupy(Entry { client, port, context, request, session: None }) else {
            return Admission::Full;
        };
        self.timers.set(id.slot, now + LOADING_MAX);
        Admission::Admitted(id)
    }

    /// Puts an entry into a free slot.
    fn occupy(&mut self, entry: Entry<C>) -> Option<Id> {
        let slot = self.free.pop()?;
        let generation = *self.generations.get(slot as usize)?;
        self.by_client.insert(entry.client, slot);
        *self.slots.get_mut(slot as usize)? = Some(entry);
        self.active += 1;
        Some(Id { slot, generation })
    }

    /// A TID that follows from nothing which a stranger sees, who could forge ACKs as well as requests otherwise. There are few:
    /// docs/decisions/0007 says how many, and what a guess brings. Never the client's `old` one, so that late packets of its last
    /// transfer are recognised.
    fn next_port(&mut self, client: SocketAddrV4, old: Option<u16>) -> u16 {
        self.given += 1;
        let TidPorts { first, count } = self.ports;
        let count = count.max(1);
        let index = self.hasher.hash_one((client, self.given)) % u64::from(count);
        let index = u16::try_from(index).unwrap_or(0);
        let is_old = old == Some(first + index);
        first + if is_old { (index + 1) % count } else { index }
    }

    /// The file of an admitted request has been found: the transfer begins.
    pub fn start(
        &mut self,
        now: Timestamp,
        id: Id,
        size: u64,
        negotiated: NegotiatedOptions,
    ) -> Option<Step> {
        let (transfer, step) = SendSession::start(now, size, negotiated);
        self.begin(id, Session::Sending(transfer), step)
    }

    /// There is a place for the file of an admitted request: the upload begins. `announced` is its size, if that is known.
    pub fn receive(
        &mut self,
        now: Timestamp,
        id: Id,
        announced: Option<u64>,
        negotiated: NegotiatedOptions,
    ) -> Option<Step> {
        let (upload_session, step) = ReceiveSession::start(now, announced, negotiated);
        self.begin(id, Session::Receiving(upload_session), step)
    }

    fn begin(&mut self, id: Id, session: Session, step: Step) -> Option<Step> {
        let deadline = session.deadline();
        self.get_mut(id)?.session = Some(session);
        self.timers.set(id.slot, deadline);
        self.note_unheard(id);
        Some(step)
    }

    /// Gives back the slot of a request that is refused.
    pub fn refuse(&mut self, id: Id) -> Option<Entry<C>> {
        self.get_mut(id)?;
        self.remove(id.slot)
    }

    /// Transfers that have not ended, from a slot on.
    pub fn under_way(&self, from: u32) -> impl Iterator<Item = Id> + '_ {
        let slots = self.slots.iter().enumerate().skip(from as usize);
        let live = slots.filter(|(_, entry)| entry.as_ref().is_some_and(|entry| !entry.dallies()));
        live.filter_map(|(slot, _)| self.id(u32::try_from(slot).ok()?))
    }

    /// The transfer of a client, whatever our port.
    pub fn of_client(&self, client: SocketAddrV4) -> Option<Id> {
        self.id(*self.by_client.get(&client)?)
    }

    /// The transfer of a client with our port `port`; `None` for a stranger.
    pub fn find(&self, client: SocketAddrV4, port: u16) -> Option<Id> {
        let id = self.of_client(client)?;
        (self.get(id)?.port == port).then_some(id)
    }

    /// An ACK has come for a transfer.
    pub fn on_ack(&mut self, now: Timestamp, id: Id, block: u16) -> Step {
        self.react(now, id, |session| match session {
            Session::Sending(transfer) => transfer.on_ack(now, block),
            Session::Receiving(_) => Step::Ignore(Ignored::StrayAck),
        })
    }

    /// DATA has come for an upload, or its file is kept; to a transfer in the other direction nothing happens.
    pub fn on_upload(
        &mut self,
        now: Timestamp,
        id: Id,
        event: impl FnOnce(&mut ReceiveSession) -> Step,
    ) -> Step {
        self.react(now, id, |session| match session {
            Session::Receiving(upload_session) => event(upload_session),
            Session::Sending(_) => Step::Wait,
        })
    }

    /// Ends a transfer from our side.
    pub fn break_off(&mut self, now: Timestamp, id: Id) {
        self.react(now, id, Session::give_way);
    }

    /// An ERROR has come for a transfer.
    pub fn on_error(&mut self, now: Timestamp, id: Id, code: ErrorCode) -> Step {
        self.react(now, id, |session| session.on_error(code))
    }

    fn react(&mut self, now: Timestamp, id: Id, event: impl FnOnce(&mut Session) -> Step) -> Step {
        let slot = id.slot;
        let Some(entry) = self.get_mut(id) else { return Step::Ignore(Ignored::StrayAck) };
        let dallies = entry.dallies();
        let Some(session) = &mut entry.session else { return Step::Ignore(Ignored::StrayAck) };
        let step = event(session);
        let deadline = session.deadline();
        match step {
            // Its timer frees the slot: an answer to a late duplicate does not change that.
            _ if dallies => {}
            Step::End(_) => self.retire(now, id),
            // A timer that rings too early is set again then; only an earlier deadline needs a new one now.
            _ if self.timers.get(slot).is_none_or(|at| deadline < at) => self.timers.set(slot, deadline),
            _ => {}
        }
        step
    }

    /// The next transfer whose time has come; `None` when there is none at `now`.
    ///
    /// `before` is shown each transfer before its timer rings: it may know that somebody else has carried it on.
    pub fn expire(
        &mut self,
        now: Timestamp,
        mut before: impl FnMut(Id, &mut Entry<C>),
    ) -> Option<Expired<C>> {
        while let Some((at, slot)) = self.timers.first() {
            if at > now {
                return None;
            }
            let Some(id) = self.id(slot) else {
                self.timers.clear(slot);
                continue;
            };
            let Some(entry) = self.entry_mut(slot) else { continue };
            if entry.dallies() {
                // Most dally equally long, so this one is in front, behind others at the most that were replaced. An upload
                // stays longer: those behind it stay in the list until it goes, though they have gone.
                while let Some(&front) = self.dallying.front()
                    && (front == id || self.get(front).is_none())
                {
                    self.dallying.pop_front();
                }
                return self.remove(slot).map(Expired::Freed);
            }
            before(id, entry);
            let Some(session) = entry.session.as_mut() else {
                return self.remove(slot).map(Expired::NotLoaded);
            };
            let step = session.on_time(now);
            let deadline = session.deadline();
            if let Step::End(_) = step {
                self.retire(now, id);
            } else {
                self.timers.set(slot, deadline);
            }
            if step != Step::Wait {
                return Some(Expired::Step(id, step));
            }
        }
        None
    }

    /// When [`Self::expire`] wants to be called; may be early, never late.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| at)
    }

    /// The entry of a transfer, if it is still there.
    pub fn get(&self, id: Id) -> Option<&Entry<C>> {
        (*self.generations.get(id.slot as usize)? == id.generation).then_some(())?;
        self.slots.get(id.slot as usize)?.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut Entry<C>> {
        (*self.generations.get(id.slot as usize)? == id.generation).then_some(())?;
        self.entry_mut(id.slot)
    }

    /// The name of what is in a slot now.
    fn id(&self, slot: u32) -> Option<Id> {
        self.slots.get(slot as usize)?.as_ref()?;
        Some(Id { slot, generation: *self.generations.get(slot as usize)? })
    }

    fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry<C>> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    fn remove(&mut self, slot: u32) -> Option<Entry<C>> {
        let entry = self.slots.get_mut(slot as usize)?.take()?;
        if !entry.dallies() {
            self.active -= 1;
        }
        self.by_client.remove(&entry.client);
        self.timers.clear(slot);
        if let Some(generation) = self.generations.get_mut(slot as usize) {
            *generation = generation.wrapping_add(1);
        }
        self.free.push(slot);
        Some(entry)
    }

    /// Transfers that have not ended.
    pub fn active(&self) -> usize {
        self.active
    }
}

/// What [`Table::expire`] found.
#[derive(Debug)]
pub enum Expired<C> {
    /// A transfer's timer ran out.
    Step(Id, Step),
    /// An ended transfer's TIDs are free.
    Freed(Entry<C>),
    /// The file of a request was not found in time; its slot is free.
    NotLoaded(Entry<C>),
}

#[cfg(test)]
mod tests;
