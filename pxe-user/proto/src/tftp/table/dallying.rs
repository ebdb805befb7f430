//! Transfers that have ended keep their TIDs for a while (RFC 1350, section 6): what comes late is not taken for another's.

use super::{Entry, Id, Table};
use crate::time::Timestamp;

impl<C> Table<C> {
    /// Frees the slot a little later.
    pub(super) fn retire(&mut self, now: Timestamp, id: Id) {
        if let Some(entry) = self.entry_mut(id.slot)
            && let Some(session) = &entry.session
        {
            let until = now + session.dally();
            self.active -= 1;
            self.timers.set(id.slot, until);
            if self.dallying.len() >= self.slots.len() * 2 {
                // A client that asks and breaks off all the time leaves only gone ones behind.
                let mut dallying = std::mem::take(&mut self.dallying);
                dallying.retain(|id| self.get(*id).is_some());
                self.dallying = dallying;
            }
            self.dallying.push_back(id);
        }
    }

    /// Frees the slot of the transfer that ended first.
    pub(super) fn evict(&mut self) -> Option<Entry<C>> {
        while let Some(id) = self.dallying.pop_front() {
            if self.get(id).is_some() {
                return self.remove(id.slot);
            }
        }
        None
    }
}
