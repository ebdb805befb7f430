//! Transfers whose clients have sent no valid ACK or DATA since their requests. They give up their slots when
//! other clients need them.

use std::time::Duration;

use super::super::send_session::SessionAction;
use super::super::session::Session;
use super::{Entry, Id, Table};
use crate::time::Timestamp;

/// Minimum age at which such a transfer gives up its slot. By then its OACK was sent three times, at 0, 1 and
/// 2 s. A late ACK 0 of PXELINUX finds its session only if the slot was not needed.
const GIVES_WAY_AFTER: Duration = Duration::from_secs(3);

impl<C> Table<C> {
    /// Adds a transfer that has started.
    pub(super) fn note_unverified(&mut self, id: Id) {
        if self.unverified.len() >= self.slots.len() {
            // At most half of the slots hold running transfers, so this happens only once in many transfers.
            let mut unverified = std::mem::take(&mut self.unverified);
            unverified.retain(|id| self.is_unverified(*id));
            self.unverified = unverified;
        }
        self.unverified.push_back(id);
    }

    /// Handles a copy of the request of the transfer in a slot. The timer may expire earlier after it.
    pub(super) fn ask_again(&mut self, now: Timestamp, slot: u32) {
        let session = self.entry_mut(slot).and_then(|entry| entry.session.as_mut());
        let Some(session) = session.filter(|session| !session.has_ended()) else { return };
        session.ask_again(now);
        let deadline = session.deadline();
        if self.timers.get(slot).is_none_or(|at| deadline < at) {
            self.timers.set(slot, deadline);
        }
    }

    pub(super) fn is_unverified(&self, id: Id) -> bool {
        self.get(id).and_then(Entry::session).is_some_and(Session::is_unverified)
    }

    /// Ends the oldest such transfer, if it is at least 3 s old. The caller does this for a request that
    /// waits and was repeated. `None` if there is no such transfer.
    pub fn give_way(&mut self, now: Timestamp) -> Option<(Id, SessionAction)> {
        while let Some(&id) = self.unverified.front() {
            if !self.is_unverified(id) {
                self.unverified.pop_front();
                continue;
            }
            if self.gives_way_at()? > now {
                return None;
            }
            self.unverified.pop_front();
            return Some((id, self.react(now, id, Session::give_way)));
        }
        None
    }

    /// When [`Self::give_way`] can end a transfer, as far as known from its last call: the time may be too
    /// early. `None` if the transfer that was the oldest then has lost its slot, or if there was none.
    pub fn gives_way_at(&self) -> Option<Timestamp> {
        let session = self.get(*self.unverified.front()?)?.session()?;
        Some(session.started() + GIVES_WAY_AFTER)
    }
}
