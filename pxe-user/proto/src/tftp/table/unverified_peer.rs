//! Transfers whose clients were never heard after their requests: they give way when others need their slots more.

use std::time::Duration;

use super::super::send_session::Step;
use super::super::session::Session;
use super::{Entry, Id, Table};
use crate::time::Timestamp;

/// A transfer whose client was never heard after its request gives way to others that wait, once it is so old. By then its
/// OACK was sent three times: at 0, 1 and 2 s. PXELINUX's late ACK 0 finds its session only while there is room.
const GIVES_WAY_AFTER: Duration = Duration::from_secs(3);

impl<C> Table<C> {
    /// A transfer begins.
    pub(super) fn note_unheard(&mut self, id: Id) {
        if self.unverified.len() >= self.slots.len() {
            // At most half of the slots' transfers are under way, so this happens once in many transfers.
            let mut unverified = std::mem::take(&mut self.unverified);
            unverified.retain(|id| self.is_unverified(*id));
            self.unverified = unverified;
        }
        self.unverified.push_back(id);
    }

    /// The request of the transfer in a slot has come again: its timer may ring earlier for that.
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

    /// Ends the oldest transfer whose client was never heard after its request, if it is old enough: others wait.
    pub fn give_way(&mut self, now: Timestamp) -> Option<(Id, Step)> {
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

    /// When [`Self::give_way`] finds one, as it stood at its last call.
    pub fn gives_way_at(&self) -> Option<Timestamp> {
        let session = self.get(*self.unverified.front()?)?.session()?;
        Some(session.started() + GIVES_WAY_AFTER)
    }
}
