//! Machines that a process before this one wrote down, and that were not heard of since. Their times are of the clock of
//! then: how long ago that is cannot be read from the clock of today, which may be wrong or have been set.

use std::collections::HashMap;

use crate::board::UnixMs;
use crate::store::Absence;
use pxe_proto::mac::Mac;

/// How long ago each was last seen.
#[derive(Debug, Default)]
pub(super) struct LastSeen {
    /// When they were taken up.
    at: UnixMs,
    /// Milliseconds from when each was last seen until then.
    ago: HashMap<Mac, u64>,
}

impl LastSeen {
    /// Machines are taken up now.
    pub(super) fn begin(&mut self, now: UnixMs) {
        self.at = now;
    }

    /// A machine is taken up that was last seen before an `absence`; without one nothing is known of its age.
    pub(super) fn add(&mut self, mac: Mac, last_seen: UnixMs, absence: Option<Absence>) {
        let ago =
            |absence: Absence| absence.written.0.saturating_sub(last_seen.0).saturating_add(absence.believed);
        self.ago.insert(mac, absence.map_or(0, ago));
    }

    /// A machine was heard of, or forgotten.
    pub(super) fn remove(&mut self, mac: Mac) {
        self.ago.remove(&mac);
    }

    /// Whether a machine was not heard of since.
    pub(super) fn has(&self, mac: Mac) -> bool {
        self.ago.contains_key(&mac)
    }

    /// The time of day was set, by so many milliseconds.
    pub(super) fn clock_set(&mut self, by: i64) {
        self.at.0 = self.at.0.saturating_add_signed(by);
    }

    /// For how many milliseconds a machine was not seen, that says of itself when that was.
    pub(super) fn unseen(&self, now: UnixMs, mac: Mac, last_seen: UnixMs) -> u64 {
        match self.ago.get(&mac) {
            Some(ago) => now.0.saturating_sub(self.at.0).saturating_add(*ago),
            None => now.0.saturating_sub(last_seen.0),
        }
    }
}
