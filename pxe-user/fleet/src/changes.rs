//! What a machine's story has changed since it was last shown.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Map, Value};

use super::board::{Boot, MemoryError, Step, UnixMs};
use super::log_limiter::{Kind, LogLimiter};
use pxe_proto::mac::Mac;
use pxe_proto::time::Timestamp;

/// Steps that may wait to be written down; beyond it the oldest are lost, and counted.
const STEPS_MAX: usize = 65536;

/// Steps of one machine at once, and in a second after that.
const MACHINE_BURST: f64 = 200.0;
const MACHINE_RATE: f64 = 1.0;

/// All that has changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Machines that are new or changed.
    pub(crate) machines: HashSet<Mac>,
    /// Machines that were forgotten.
    pub(crate) forgotten: HashSet<Mac>,
    /// New steps.
    pub(crate) steps: Vec<Step>,
    /// Steps that are lost because nobody could write them down.
    pub(crate) steps_lost: u64,
    /// Boots that are new or changed, by machine and beginning.
    pub(crate) boots: HashMap<(Mac, UnixMs), Boot>,
    /// Memory errors that are new or were seen again, by machine, the test's beginning, and address.
    pub(crate) errors: HashMap<(Mac, UnixMs, String), MemoryError>,
    /// The datapath must know.
    pub(crate) boot_records: bool,
}

impl Changes {
    /// Whether there is nothing to show.
    pub(crate) fn is_empty(&self) -> bool {
        self.machines.is_empty() && self.forgotten.is_empty() && self.steps.is_empty()
    }

    /// Adds what was to be written down before these changes, and was not.
    pub(crate) fn put_before(&mut self, mut earlier: Self) {
        earlier.machines.retain(|mac| !self.forgotten.contains(mac));
        earlier.boots.retain(|(mac, _), _| !self.forgotten.contains(mac));
        earlier.forgotten.retain(|mac| !self.machines.contains(mac));
        self.machines.extend(earlier.machines);
        self.forgotten.extend(earlier.forgotten);
        for (key, boot) in earlier.boots {
            self.boots.entry(key).or_insert(boot);
        }
        for (key, error) in earlier.errors {
            self.errors.entry(key).or_insert(error);
        }
        earlier.steps.append(&mut self.steps);
        self.steps = earlier.steps;
        self.steps_lost += earlier.steps_lost;
        self.boot_records |= earlier.boot_records;
        self.bound();
    }

    /// Lets go of what the registry knows too, when too much waits to be written; whether everything must be written then.
    pub(crate) fn shrink(&mut self) -> bool {
        let much = [self.boots.len(), self.errors.len(), self.forgotten.len()]
            .iter()
            .any(|count| *count > STEPS_MAX);
        if much {
            self.boots.clear();
            self.errors.clear();
            // Strangers that stay in the database are forgotten there by and by.
            self.forgotten.clear();
        }
        much
    }

    fn bound(&mut self) {
        if self.steps.len() > STEPS_MAX {
            let surplus = self.steps.len() - STEPS_MAX;
            self.steps.drain(..surplus);
            self.steps_lost += surplus as u64;
        }
    }
}

/// Writes the story: numbers its steps, and bounds those that strangers can cause.
#[derive(Debug)]
pub(crate) struct ChangeLog {
    pub(crate) changes: Changes,
    next_step: u64,
    limit: LogLimiter,
    /// Of each machine.
    limits: HashMap<Mac, LogLimiter>,
}

impl ChangeLog {
    /// The first step will have this number.
    pub(crate) fn new(next_step: u64) -> Self {
        Self { changes: Changes::default(), next_step, limit: LogLimiter::default(), limits: HashMap::new() }
    }

    /// Steps continue after this number, if they are not there yet.
    pub(crate) fn continue_after(&mut self, step: u64) {
        self.next_step = self.next_step.max(step.saturating_add(1));
    }

    /// The time of day was set, by so many milliseconds.
    pub(crate) fn clock_set(&mut self, by: i64) {
        let all = self.limits.values_mut().chain([&mut self.limit]);
        all.for_each(|limit| limit.clock_set(by.saturating_mul(1000)));
    }

    /// Notes that a machine must be shown anew.
    pub(crate) fn touch(&mut self, mac: Mac) {
        self.changes.forgotten.remove(&mac);
        self.changes.machines.insert(mac);
    }

    /// Notes that a machine is gone.
    pub(crate) fn forget(&mut self, mac: Mac) {
        self.limits.remove(&mac);
        self.changes.machines.remove(&mac);
        self.changes.forgotten.insert(mac);
        self.changes.boots.retain(|(owner, _), _| *owner != mac);
    }

    /// Writes a step of a machine that has loaded something before, or of a `stranger`: those are bounded.
    pub(crate) fn step(&mut self, now: UnixMs, mac: Mac, stranger: bool, step: Draft<'_>) {
        let tick = Timestamp::default() + Duration::from_millis(now.0);
        if stranger && self.limit.admit(tick, Kind::Warning).is_none() {
            return;
        }
        let limit = self.limits.entry(mac).or_insert_with(|| LogLimiter::new(MACHINE_BURST, MACHINE_RATE));
        let Some(left_out) = limit.admit(tick, Kind::News) else { return };
        if left_out > 0 {
            self.push(now, mac, Draft::new("left_out", format!("{left_out} more were left out")));
        }
        self.push(now, mac, step);
    }

    fn push(&mut self, now: UnixMs, mac: Mac, step: Draft<'_>) {
        let id = self.next_step;
        self.next_step += 1;
        let Draft { event, text, facts } = step;
        self.changes.steps.push(Step { id, at: now, mac: mac.to_string(), event: event.into(), text, facts });
        self.changes.bound();
    }
}

/// A step that has no number yet.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    event: &'a str,
    text: String,
    facts: Map<String, Value>,
}

impl<'a> Draft<'a> {
    /// A step without facts.
    pub(crate) fn new(event: &'a str, text: impl Into<String>) -> Self {
        Self { event, text: text.into(), facts: Map::new() }
    }

    /// Adds a fact, unless it is not known.
    pub(crate) fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if !value.is_null() {
            self.facts.insert(name.into(), value);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_machine_cannot_fill_the_disk_and_takes_nothing_from_others() {
        let (mut change_log, loud, quiet) = (ChangeLog::new(1), Mac([2; 6]), Mac([4; 6]));
        for _ in 0..1000 {
            change_log.step(UnixMs(10), loud, false, Draft::new("x", "x"));
        }
        change_log.step(UnixMs(10), quiet, false, Draft::new("x", "x"));
        assert_eq!(change_log.changes.steps.len(), 201);
        change_log.step(UnixMs(1010), loud, false, Draft::new("x", "x"));
        assert_eq!(change_log.changes.steps[201].text, "800 more were left out");
    }
}
