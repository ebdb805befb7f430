//! All transfers of one worker, in both directions. A TID on each side identifies a transfer: the address and
//! port of the client, and the port of pxed.
//!
//! The TFTP service of the worker calls [`Table::admit`] for each request, [`Table::start`] or
//! [`Table::receive`] when the file is ready, [`Table::on_ack`], [`Table::on_upload`] and [`Table::on_error`]
//! for packets, and [`Table::expire`] at [`Table::next_deadline`]. The service carries out each [`SessionAction`] that
//! they return.
//!
//! A request takes a slot, and the end of the transfer frees it after a short time (`dallying`). Slots and
//! timers are allocated at the start. A client address and port has at most one transfer at a time, so a
//! repeated RRQ finds its session, and a new RRQ replaces the old session.

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
use super::send_session::{IgnoredEvent, SendSession, SessionAction, TransferOutcome};
use super::session::Session;
use super::timers::Timers;
use crate::time::Timestamp;

/// How long a request waits for its file, or for the inbox. After this time the slot is freed, so that a lost
/// request to the loader does not hold it forever.
const LOADING_MAX: Duration = Duration::from_secs(30);

/// The result of [`Table::admit`].
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// The request has a slot. `replaced` was called if an earlier transfer of the client made way.
    Admitted(Id),
    /// The request is a copy of the one that started the transfer of this client.
    Duplicate,
    /// As many transfers as allowed are running. The request has no slot.
    Full,
}

/// All transfers of one worker. `C` is the data of the caller for each transfer.
#[derive(Debug)]
pub struct Table<C> {
    slots: Vec<Option<Entry<C>>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    /// Clients choose the keys, so the hash is keyed: SipHash-1-3 of the standard library. A lookup for each
    /// packet costs about 15 ns of the microsecond or so that a packet takes. Faster hashes give weaker
    /// guarantees against chosen keys.
    by_client: HashMap<SocketAddrV4, u32>,
    /// Ended transfers, oldest first: the first one gives up its slot first. Some ids are stale.
    dallying: VecDeque<Id>,
    /// Transfers whose clients had sent no valid ACK or DATA when they were added, oldest first. Some ids are
    /// stale.
    unverified: VecDeque<Id>,
    timers: Timers,
    hasher: RandomState,
    ports: TidPorts,
    /// The number of TIDs assigned so far. It makes each hash in `next_port` different.
    given: u64,
    limit: usize,
    active: usize,
}

impl<C> Table<C> {
    /// The most memory for one slot, in bytes: its entry, and its share of all lists.
    pub const SLOT_BYTES: usize = {
        // The map has a power of two of buckets, with one more byte for each, and uses at most 7/8 of them.
        // So there are less than 16/7 buckets for each slot.
        let by_client = (size_of::<(SocketAddrV4, u32)>() + 1) * 16 / 7 + 1;
        let generation_and_free = 2 * size_of::<u32>();
        let dallying_and_unheard = 3 * size_of::<Id>();
        size_of::<Option<Entry<C>>>()
            + by_client
            + generation_and_free
            + dallying_and_unheard
            + Timers::<Timestamp>::BYTES_EACH
    };

    /// The number of slots of a table for `limit` transfers. Ended transfers hold slots too, for a short
    /// time; they give them up when slots run short.
    pub fn slots(limit: usize) -> usize {
        limit * 2
    }

    /// Creates a table for `limit` transfers at a time, with TIDs from `ports`.
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

    /// Returns the fingerprint by which a repeat of a request is recognised: a keyed hash of its payload.
    pub fn fingerprint(&self, request: &[u8]) -> u64 {
        self.hasher.hash_one(request)
    }

    /// Whether [`Self::admit`] accepts the request even if the table is full: the client has a transfer that
    /// still runs, whose slot the request keeps, or the request is a late copy.
    pub fn is_known(&self, now: Timestamp, client: SocketAddrV4, request: u64) -> bool {
        let entry = self.of_client(client).and_then(|id| self.get(id));
        entry.is_some_and(|entry| !entry.dallies() || entry.is_copy(now, request))
    }

    /// Whether another transfer may start.
    pub fn has_room(&self) -> bool {
        self.active < self.limit
    }

    /// Takes a slot for a request with the fingerprint `request`.
    ///
    /// Calls `replaced` for each entry that is removed: an earlier transfer of the same client, or an ended
    /// transfer that held the last slot. The outcome is `None` if that transfer had ended before.
    pub fn admit(
        &mut self,
        now: Timestamp,
        client: SocketAddrV4,
        request: u64,
        context: C,
        mut replaced: impl FnMut(&Entry<C>, Option<TransferOutcome>),
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
            let end = entry
                .session
                .as_mut()
                .map_or(SessionAction::End(TransferOutcome::Superseded), Session::supersede);
            let ends_now = entry.dallies() && !dallied;
            let ended = match end {
                SessionAction::End(outcome) => Some(outcome),
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

    /// Puts an entry into a free slot. `None` if there is no free slot.
    fn occupy(&mut self, entry: Entry<C>) -> Option<Id> {
        let slot = self.free.pop()?;
        let generation = *self.generations.get(slot as usize)?;
        self.by_client.insert(entry.client, slot);
        *self.slots.get_mut(slot as usize)? = Some(entry);
        self.active += 1;
        Some(Id { slot, generation })
    }

    /// Returns a TID that an attacker cannot compute from what it sees. With a predictable TID, anyone who
    /// can forge a request could also forge its ACKs. The range is small: docs/decisions/0007 says how many
    /// TIDs there are, and what a correct guess allows.
    ///
    /// The TID differs from `old`, the previous one of the client, so that late packets of the previous
    /// transfer are recognised. A range of one port is the exception.
    fn next_port(&mut self, client: SocketAddrV4, old: Option<u16>) -> u16 {
        self.given += 1;
        let TidPorts { first, count } = self.ports;
        let count = count.max(1);
        let index = self.hasher.hash_one((client, self.given)) % u64::from(count);
        let index = u16::try_from(index).unwrap_or(0);
        let is_old = old == Some(first + index);
        first + if is_old { (index + 1) % count } else { index }
    }

    /// Starts the transfer of an admitted request whose file, of `size` bytes, is loaded. Returns the first
    /// action; `None` if the request has lost its slot.
    pub fn start(
        &mut self,
        now: Timestamp,
        id: Id,
        size: u64,
        negotiated: NegotiatedOptions,
    ) -> Option<SessionAction> {
        let (transfer, action) = SendSession::start(now, size, negotiated);
        self.begin(id, Session::Sending(transfer), action)
    }

    /// Starts the upload of an admitted request for which the inbox has opened a file. `announced` is the
    /// size in the request, in bytes. Returns the first action; `None` if the request has lost its slot.
    pub fn receive(
        &mut self,
        now: Timestamp,
        id: Id,
        announced: Option<u64>,
        negotiated: NegotiatedOptions,
    ) -> Option<SessionAction> {
        let (upload_session, action) = ReceiveSession::start(now, announced, negotiated);
        self.begin(id, Session::Receiving(upload_session), action)
    }

    fn begin(&mut self, id: Id, session: Session, action: SessionAction) -> Option<SessionAction> {
        let deadline = session.deadline();
        self.get_mut(id)?.session = Some(session);
        self.timers.set(id.slot, deadline);
        self.note_unverified(id);
        Some(action)
    }

    /// Frees the slot of a request that is refused. `None` if the request has lost its slot.
    pub fn refuse(&mut self, id: Id) -> Option<Entry<C>> {
        self.get_mut(id)?;
        self.remove(id.slot)
    }

    /// Returns the transfers that have not ended, from slot `from` on.
    pub fn running(&self, from: u32) -> impl Iterator<Item = Id> + '_ {
        let slots = self.slots.iter().enumerate().skip(from as usize);
        let live = slots.filter(|(_, entry)| entry.as_ref().is_some_and(|entry| !entry.dallies()));
        live.filter_map(|(slot, _)| self.id(u32::try_from(slot).ok()?))
    }

    /// Returns the transfer of a client, with any TID of pxed.
    pub fn of_client(&self, client: SocketAddrV4) -> Option<Id> {
        self.id(*self.by_client.get(&client)?)
    }

    /// Returns the transfer between a client and `port`, the TID of pxed. `None` if there is none: the packet
    /// is from an unknown sender.
    pub fn find(&self, client: SocketAddrV4, port: u16) -> Option<Id> {
        let id = self.of_client(client)?;
        (self.get(id)?.port == port).then_some(id)
    }

    /// Handles an ACK: `block` is the number modulo 65536.
    pub fn on_ack(&mut self, now: Timestamp, id: Id, block: u16) -> SessionAction {
        self.react(now, id, |session| match session {
            Session::Sending(transfer) => transfer.on_ack(now, block),
            Session::Receiving(_) => SessionAction::Ignore(IgnoredEvent::StrayAck),
        })
    }

    /// Handles an event of an upload: DATA, or a report from the inbox. Returns [`SessionAction::Wait`] without
    /// calling `event` if pxed sends in this transfer.
    pub fn on_upload(
        &mut self,
        now: Timestamp,
        id: Id,
        event: impl FnOnce(&mut ReceiveSession) -> SessionAction,
    ) -> SessionAction {
        self.react(now, id, |session| match session {
            Session::Receiving(upload_session) => event(upload_session),
            Session::Sending(_) => SessionAction::Wait,
        })
    }

    /// Ends a transfer. The caller sends the ERROR and counts the reason.
    pub fn abort(&mut self, now: Timestamp, id: Id) {
        self.react(now, id, Session::give_way);
    }

    /// Handles an ERROR from the client.
    pub fn on_error(&mut self, now: Timestamp, id: Id, code: ErrorCode) -> SessionAction {
        self.react(now, id, |session| session.on_error(code))
    }

    fn react(
        &mut self,
        now: Timestamp,
        id: Id,
        event: impl FnOnce(&mut Session) -> SessionAction,
    ) -> SessionAction {
        let slot = id.slot;
        let Some(entry) = self.get_mut(id) else { return SessionAction::Ignore(IgnoredEvent::StrayAck) };
        let dallies = entry.dallies();
        let Some(session) = &mut entry.session else { return SessionAction::Ignore(IgnoredEvent::StrayAck) };
        let action = event(session);
        let deadline = session.deadline();
        match action {
            // The timer frees the slot. A reply to a late duplicate does not change the timer.
            _ if dallies => {}
            SessionAction::End(_) => self.retire(now, id),
            // The timer may expire before the deadline: `expire` then sets it again. Only an earlier deadline
            // needs a new time here.
            _ if self.timers.get(slot).is_none_or(|at| deadline < at) => self.timers.set(slot, deadline),
            _ => {}
        }
        action
    }

    /// Returns the next transfer that has timed out at `now`, or `None`. Call it until it returns `None`.
    ///
    /// Before each time-out it calls `before`, which may update the entry, because the kernel may have
    /// continued the transfer.
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
                // Most ended transfers dally for the same time, so this one is at the front, apart from stale
                // ids before it. An upload dallies longer: stale ids behind it stay in the list until the
                // upload is freed.
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
            let action = session.on_time(now);
            let deadline = session.deadline();
            if let SessionAction::End(_) = action {
                self.retire(now, id);
            } else {
                self.timers.set(slot, deadline);
            }
            if action != SessionAction::Wait {
                return Some(Expired::Action(id, action));
            }
        }
        None
    }

    /// When the caller must call [`Self::expire`]. May be too early, never too late.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| at)
    }

    /// Returns the entry of a transfer; `None` if the slot is free or holds another transfer now.
    pub fn get(&self, id: Id) -> Option<&Entry<C>> {
        (*self.generations.get(id.slot as usize)? == id.generation).then_some(())?;
        self.slots.get(id.slot as usize)?.as_ref()
    }

    /// Like [`Self::get`], with a mutable entry.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut Entry<C>> {
        (*self.generations.get(id.slot as usize)? == id.generation).then_some(())?;
        self.entry_mut(id.slot)
    }

    /// Returns the id of the transfer in a slot; `None` if the slot is free.
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

    /// The number of transfers that have not ended, with those that wait for their files.
    pub fn active(&self) -> usize {
        self.active
    }
}

/// What has timed out.
#[derive(Debug)]
pub enum Expired<C> {
    /// A session has timed out: the action to carry out.
    Action(Id, SessionAction),
    /// An ended transfer has given up its slot and its TIDs.
    Freed(Entry<C>),
    /// The file of a request was not ready in time. The slot is free.
    NotLoaded(Entry<C>),
}

#[cfg(test)]
mod tests;
