//! [`ChangeLog`]: collects what changes in the registry between two publications. The publisher takes the
//! [`Changes`], stores them, and shows them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use serde_json::{Map, Value};

use super::board::{Boot, MemoryError, Step, UnixMs};
use super::log_limiter::{Kind, LogLimiter};
use pxe_content::boot::Nonce;
use pxe_proto::mac::Mac;
use pxe_proto::time::Timestamp;

/// Maximum number of steps that may wait for the store. Beyond that the oldest ones are dropped and counted.
const STEPS_MAX: usize = 65536;

/// Rate limit for the steps of one machine: size of the burst, and steps per second after it.
const MACHINE_BURST: f64 = 200.0;
const MACHINE_RATE: f64 = 1.0;

/// A boot that counts for a rule (`once`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) mac: Mac,
    pub(crate) rule: String,
    pub(crate) boot: BootKey,
    /// The machine's epoch: a boot counts only while no later epoch is known.
    pub(crate) epoch: u64,
}

/// What distinguishes a boot from all others of a machine, for every responder that sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BootKey {
    /// The nonce that the machine got.
    Nonce(Nonce),
    /// The machine got none, so only this responder knows the boot: by its beginning.
    Began(UnixMs),
}

/// Everything that has changed since the last publication.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Machines that are new or have changed.
    pub(crate) machines: HashSet<Mac>,
    /// Machines that came from a database as they are there: they are to be shown, and need not be written.
    pub(crate) resumed: HashSet<Mac>,
    /// Machines that the registry has forgotten.
    pub(crate) forgotten: HashSet<Mac>,
    /// Machines of other responders that the registry has forgotten: they are to be shown no longer, and their rows are not
    /// ours to delete.
    pub(crate) dropped: HashSet<Mac>,
    /// New steps.
    pub(crate) steps: Vec<Step>,
    /// Number of steps that were dropped because too many waited for the store.
    pub(crate) steps_lost: u64,
    /// Boots that are new or have changed, by machine and the boot's beginning. Sorted, so that a machine that is
    /// forgotten takes its own boots along without a look at all others: a flood makes thousands be forgotten.
    pub(crate) boots: BTreeMap<(Mac, UnixMs), Boot>,
    /// Memory errors that are new or were reported again, by machine, the test's beginning, and address.
    pub(crate) errors: HashMap<(Mac, UnixMs, String), MemoryError>,
    /// Boots that count for a rule since the last publication.
    pub(crate) counted: Vec<Counted>,
    /// The epochs of machines whose counts were reset.
    pub(crate) epochs: HashMap<Mac, u64>,
    /// A boot record has changed, which the datapath must see.
    pub(crate) boot_records: bool,
}

impl Changes {
    /// Whether there is nothing to publish.
    pub(crate) fn is_empty(&self) -> bool {
        self.machines.is_empty()
            && self.resumed.is_empty()
            && self.forgotten.is_empty()
            && self.dropped.is_empty()
            && self.steps.is_empty()
    }

    /// Adds `earlier` changes that were not stored. Where both have the same key, the later value wins.
    pub(crate) fn put_before(&mut self, mut earlier: Self) {
        earlier.machines.retain(|mac| !self.forgotten.contains(mac));
        earlier.boots.retain(|(mac, _), _| !self.forgotten.contains(mac));
        earlier.forgotten.retain(|mac| !self.machines.contains(mac) && !self.resumed.contains(mac));
        earlier.resumed.retain(|mac| !self.forgotten.contains(mac));
        self.machines.extend(earlier.machines);
        self.resumed.extend(earlier.resumed);
        self.forgotten.extend(earlier.forgotten);
        earlier.dropped.retain(|mac| !self.machines.contains(mac) && !self.resumed.contains(mac));
        self.dropped.extend(earlier.dropped);
        for (key, boot) in earlier.boots {
            self.boots.entry(key).or_insert(boot);
        }
        for (key, error) in earlier.errors {
            self.errors.entry(key).or_insert(error);
        }
        earlier.counted.append(&mut self.counted);
        self.counted = earlier.counted;
        for (mac, epoch) in earlier.epochs {
            let known = self.epochs.entry(mac).or_insert(epoch);
            *known = epoch.max(*known);
        }
        earlier.steps.append(&mut self.steps);
        self.steps = earlier.steps;
        self.steps_lost += earlier.steps_lost;
        self.boot_records |= earlier.boot_records;
        self.bound();
    }

    /// Frees memory when too many changes wait for the store: drops boots, errors and forgotten machines.
    /// Returns true if it dropped any. Then the next batch must write all machines and boots from the
    /// registry.
    pub(crate) fn shrink(&mut self) -> bool {
        let much = [self.boots.len(), self.errors.len(), self.forgotten.len(), self.counted.len()]
            .iter()
            .any(|count| *count > STEPS_MAX);
        if much {
            self.boots.clear();
            self.errors.clear();
            // Only a shared ledger reads these. A machine then boots once more than it should.
            self.counted.clear();
            // The rows of forgotten machines then stay in the database. A later start loads them, and the
            // registry forgets the strangers among them again.
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

/// Collects changes. It numbers the steps, and limits the rate of those that strangers can cause.
#[derive(Debug)]
pub(crate) struct ChangeLog {
    pub(crate) changes: Changes,
    next_step: u64,
    limit: LogLimiter,
    /// The rate limit of each machine.
    limits: HashMap<Mac, LogLimiter>,
}

impl ChangeLog {
    /// `next_step` is the number of the first step.
    pub(crate) fn new(next_step: u64) -> Self {
        Self { changes: Changes::default(), next_step, limit: LogLimiter::default(), limits: HashMap::new() }
    }

    /// Continues the numbers after `step`, unless they are already greater.
    pub(crate) fn continue_after(&mut self, step: u64) {
        self.next_step = self.next_step.max(step.saturating_add(1));
    }

    /// The wall clock was set by `by` milliseconds. The limiters run on it, so they are shifted by the same
    /// amount.
    pub(crate) fn clock_set(&mut self, by: i64) {
        let all = self.limits.values_mut().chain([&mut self.limit]);
        all.for_each(|limit| limit.clock_set(by.saturating_mul(1000)));
    }

    /// Marks a machine as changed.
    pub(crate) fn touch(&mut self, mac: Mac) {
        self.changes.forgotten.remove(&mac);
        self.changes.dropped.remove(&mac);
        self.changes.machines.insert(mac);
    }

    /// Marks a machine as one that came from the database.
    pub(crate) fn resumed(&mut self, mac: Mac) {
        if self.changes.forgotten.remove(&mac) {
            // Its row would have been deleted.
            self.changes.machines.insert(mac);
        } else {
            self.changes.resumed.insert(mac);
        }
    }

    /// Marks a machine of another responder as changed: it is shown, and not written.
    pub(crate) fn show(&mut self, mac: Mac) {
        // A row of ours that stays in the database has a lower version than theirs.
        self.changes.forgotten.remove(&mac);
        self.changes.dropped.remove(&mac);
        self.changes.resumed.insert(mac);
    }

    /// Marks a machine of another responder as forgotten.
    pub(crate) fn drop(&mut self, mac: Mac) {
        self.forget(mac);
        self.changes.forgotten.remove(&mac);
        self.changes.dropped.insert(mac);
    }

    /// Marks a machine as forgotten, and drops its boots, which need not be stored.
    pub(crate) fn forget(&mut self, mac: Mac) {
        self.limits.remove(&mac);
        self.changes.machines.remove(&mac);
        self.changes.resumed.remove(&mac);
        self.changes.forgotten.insert(mac);
        let boots = &mut self.changes.boots;
        while let Some((&boot, _)) = boots.range((mac, UnixMs(0))..=(mac, UnixMs(u64::MAX))).next() {
            boots.remove(&boot);
        }
    }

    /// Adds a step of a machine. Each machine has a rate limit of its own. In addition, all machines that are
    /// a `stranger` share one, because a sender can invent any number of them.
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

/// A step without number, time and machine.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    event: &'a str,
    text: String,
    facts: Map<String, Value>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(event: &'a str, text: impl Into<String>) -> Self {
        Self { event, text: text.into(), facts: Map::new() }
    }

    /// Adds a fact, unless its value is null.
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
