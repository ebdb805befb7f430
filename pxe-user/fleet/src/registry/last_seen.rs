//! [`LastSeen`]: the age of machines that an earlier process stored and that were not seen since. Their
//! last-seen times are by the clock of that process. Today's clock cannot say how long ago that was, because
//! it may be wrong, or may have been set.

use std::collections::HashMap;

use crate::absence::Absence;
use crate::board::UnixMs;
use pxe_proto::mac::Mac;

/// How long ago each such machine was last seen.
#[derive(Debug, Default)]
pub(super) struct LastSeen {
    /// When the machines were loaded.
    at: UnixMs,
    /// Milliseconds from when each machine was last seen to when it was loaded.
    ago: HashMap<Mac, u64>,
}

impl LastSeen {
    /// Sets the time at which machines are loaded.
    pub(super) fn begin(&mut self, now: UnixMs) {
        self.at = now;
    }

    /// Adds a machine that was last seen before an `absence`. Without an absence its age is unknown, and
    /// counts from now.
    pub(super) fn add(&mut self, mac: Mac, last_seen: UnixMs, absence: Option<Absence>) {
        let ago =
            |absence: Absence| absence.written.0.saturating_sub(last_seen.0).saturating_add(absence.believed);
        self.ago.insert(mac, absence.map_or(0, ago));
    }

    /// A machine was seen or forgotten.
    pub(super) fn remove(&mut self, mac: Mac) {
        self.ago.remove(&mac);
    }

    /// Whether a machine was not seen since it was loaded.
    pub(super) fn has(&self, mac: Mac) -> bool {
        self.ago.contains_key(&mac)
    }

    /// The wall clock was set by `by` milliseconds. Shifts the time at which machines were loaded.
    pub(super) fn clock_set(&mut self, by: i64) {
        self.at.0 = self.at.0.saturating_add_signed(by);
    }

    /// Returns for how many milliseconds a machine was not seen. `last_seen` is the machine's own time, which
    /// counts only if it was seen since it was loaded.
    pub(super) fn unseen(&self, now: UnixMs, mac: Mac, last_seen: UnixMs) -> u64 {
        match self.ago.get(&mac) {
            Some(ago) => now.0.saturating_sub(self.at.0).saturating_add(*ago),
            None => now.0.saturating_sub(last_seen.0),
        }
    }
}
