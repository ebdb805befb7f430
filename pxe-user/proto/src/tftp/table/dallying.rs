//! Ended transfers keep their TIDs for a short time (RFC 1350, section 6), so that a late packet is not taken
//! for a packet of another transfer.

use super::{Entry, Id, Table};
use crate::time::Timestamp;

impl<C> Table<C> {
    /// Marks a transfer as ended. Its slot is freed after its dally time.
    pub(super) fn retire(&mut self, now: Timestamp, id: Id) {
        if let Some(entry) = self.entry_mut(id.slot)
            && let Some(session) = &entry.session
        {
            let until = now + session.dally();
            self.active -= 1;
            self.timers.set(id.slot, until);
            if self.dallying.len() >= self.slots.len() * 2 {
                // The list outgrows the slots only if clients keep replacing transfers that have just ended.
                // The ids of those are stale.
                let mut dallying = std::mem::take(&mut self.dallying);
                dallying.retain(|id| self.get(*id).is_some());
                self.dallying = dallying;
            }
            self.dallying.push_back(id);
        }
    }

    /// Frees the slot of the transfer that ended first. `None` if no ended transfer holds a slot.
    pub(super) fn evict(&mut self) -> Option<Entry<C>> {
        while let Some(id) = self.dallying.pop_front() {
            if self.get(id).is_some() {
                return self.remove(id.slot);
            }
        }
        None
    }
}
