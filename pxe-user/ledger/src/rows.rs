//! [`Rows`]: what one transaction writes. [`Loaded`]: what a start reads. [`Page`]: what other responders wrote. Times are
//! milliseconds since 1970 (UTC).

use pxe_proto::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A machine: its Ethernet address, and its JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRow {
    /// The Ethernet address as text.
    pub mac: String,
    /// The machine's JSON.
    pub json: String,
}

/// A boot of a machine. Its key is the machine and the beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootRow {
    /// The machine's Ethernet address.
    pub mac: String,
    /// When it began.
    pub at: u64,
    /// The boot's JSON.
    pub json: String,
}

/// A step in a machine's history. Its key is its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRow {
    /// The number, which grows over all machines.
    pub id: u64,
    /// When it happened.
    pub at: u64,
    /// The machine's Ethernet address.
    pub mac: String,
    /// The step's JSON.
    pub json: String,
}

/// A memory error. Its key is the machine, the test and the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRow {
    /// The machine's Ethernet address.
    pub mac: String,
    /// When the test began.
    pub test: u64,
    /// The physical address as the test wrote it.
    pub address: String,
    /// When the error was first reported.
    pub at: u64,
    /// The error's JSON.
    pub json: String,
}

/// A boot that counts for a rule (`once`). Its key is the machine, the rule and the boot, so it counts once, whoever
/// reports it and however often. Rows of an epoch before the machine's own do not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedRow {
    /// The machine's Ethernet address.
    pub mac: String,
    /// The rule's name.
    pub rule: String,
    /// What distinguishes the boot from all others of the machine.
    pub boot: String,
    /// The machine's epoch, as far as the responder knew it.
    pub epoch: u64,
    /// How many boots the row stands for: one, or those of an import.
    pub count: u32,
}

/// The epoch of a machine's counts. Raising it (`pxed again`) resets them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRow {
    /// The machine's Ethernet address.
    pub mac: String,
    /// The epoch. The greatest one that any responder wrote is in force.
    pub epoch: u64,
}

/// Rows of all tables. A row replaces one with the same key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
// The spool of an older pxed may lack tables.
#[serde(default)]
pub struct Rows {
    /// The wall-clock time.
    pub now: u64,
    /// The same moment on the monotonic clock.
    #[serde(skip)]
    pub monotonic: Timestamp,
    /// Machines that are new or have changed.
    pub machines: Vec<MachineRow>,
    /// Machines to delete, with their boots. They are deleted before the others are written.
    pub forgotten: Vec<String>,
    /// Boots that are new or have changed.
    pub boots: Vec<BootRow>,
    /// New steps.
    pub steps: Vec<StepRow>,
    /// Memory errors that are new or were reported again.
    pub errors: Vec<ErrorRow>,
    /// Epochs that were raised. They are written before `counted`. SQLite keeps the counts in the machine's JSON, and
    /// ignores both.
    pub epochs: Vec<EpochRow>,
    /// Boots that count for a rule.
    pub counted: Vec<CountedRow>,
}

impl Rows {
    /// The number of rows.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks whether rows are empty")]
    pub fn len(&self) -> usize {
        let Self { now: _, monotonic: _, machines, forgotten, boots, steps, errors, epochs, counted } = self;
        let lists = [machines.len(), forgotten.len(), boots.len(), steps.len(), errors.len()];
        lists.iter().sum::<usize>() + epochs.len() + counted.len()
    }

    /// Cuts the rows into pieces of at most `most` rows, in the order in which they must be written.
    #[must_use]
    pub fn pieces(&self, most: usize) -> Vec<Self> {
        let Self { now, monotonic, machines, forgotten, boots, steps, errors, epochs, counted } = self;
        let none = || Self { now: *now, monotonic: *monotonic, ..Self::default() };
        let mut pieces = Vec::new();
        pieces.extend(forgotten.chunks(most).map(|rows| Self { forgotten: rows.to_vec(), ..none() }));
        pieces.extend(epochs.chunks(most).map(|rows| Self { epochs: rows.to_vec(), ..none() }));
        pieces.extend(machines.chunks(most).map(|rows| Self { machines: rows.to_vec(), ..none() }));
        pieces.extend(boots.chunks(most).map(|rows| Self { boots: rows.to_vec(), ..none() }));
        pieces.extend(steps.chunks(most).map(|rows| Self { steps: rows.to_vec(), ..none() }));
        pieces.extend(errors.chunks(most).map(|rows| Self { errors: rows.to_vec(), ..none() }));
        pieces.extend(counted.chunks(most).map(|rows| Self { counted: rows.to_vec(), ..none() }));
        pieces
    }
}

/// A batch of rows with its identity: the responder's spool, and a number in it. Writing it twice changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedRows {
    /// The number. It grows with each batch of a responder.
    pub sequence: u64,
    /// The version of the batch's machines: greater than all versions that the responder has seen. The greatest one wins.
    pub version: u64,
    /// The rows.
    pub rows: Rows,
}

/// A machine with its latest boots, newest first, as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedMachine {
    /// The machine.
    pub row: MachineRow,
    /// Its latest boots.
    pub boots: Vec<String>,
}

/// What a ledger contains when it is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// All machines.
    pub machines: Vec<LoadedMachine>,
    /// The JSON of the latest steps, oldest first.
    pub steps: Vec<String>,
    /// The greatest number of any step.
    pub last_step: u64,
    /// The time since the run before this one. `None` if there was none.
    pub absence: Option<Absence>,
    /// A sentence for people, if a damaged database was moved away and replaced by a new one.
    pub set_aside: Option<String>,
}

/// A machine's boots and steps as JSON, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Its boots.
    pub boots: Vec<String>,
    /// Its steps.
    pub steps: Vec<String>,
}

/// The time between two runs, as far as it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// The wall-clock time of the earlier run's last write.
    pub written: u64,
    /// How many milliseconds count as the time since then.
    pub believed: u64,
}

/// What the ledger has of a responder when it connects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The spool that wrote last under this name. Empty if there was none.
    pub spool: String,
    /// The number of the last batch.
    pub sequence: u64,
    /// The greatest version of any machine.
    pub clock: u64,
}

/// A machine whose row in the shared ledger another responder wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherRow {
    /// The Ethernet address as text.
    pub mac: String,
    /// The responder that wrote the row.
    pub responder: String,
    /// The row's version. The greatest one wins; of equal versions, the one of the greater responder.
    pub version: u64,
    /// The machine's JSON.
    pub json: String,
    /// The JSON of its latest boot, whoever saw it.
    pub boot: Option<String>,
}

/// What counts for a machine, over all responders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TotalsRow {
    /// The machine's Ethernet address.
    pub mac: String,
    /// Its greatest epoch.
    pub epoch: u64,
    /// By rule, how many boots count in this epoch.
    pub counts: Vec<(String, u64)>,
}

/// What a responder says of itself when it renews its lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The version of pxed.
    pub pxed: String,
    /// The name of its segment, if it has one.
    pub segment: Option<String>,
    /// A digest of its rules. Responders with different digests have different rules.
    pub rules: Option<String>,
    /// How many batches wait in its spool.
    pub waiting: u64,
}

/// A responder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponderRow {
    /// Its name.
    pub name: String,
    /// Its host's name.
    pub host: String,
    /// It holds the lease of its name.
    pub is_alive: bool,
    /// How many milliseconds ago it renewed its lease. `None` if it gave the lease up.
    pub renewed_ago: Option<u64>,
    /// What it said last.
    pub status: Status,
}

/// A part of what is new in the shared ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// All responders, this one included.
    pub responders: Vec<ResponderRow>,
    /// Machines that other responders wrote.
    pub machines: Vec<OtherRow>,
    /// Machines for which a boot counts or an epoch was raised, whoever wrote that.
    pub totals: Vec<TotalsRow>,
    /// There is no more to read.
    pub is_last: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_all_rows_once_and_in_order() {
        let machine = |n: u32| MachineRow { mac: n.to_string(), json: "{}".into() };
        let rows = Rows {
            now: 7,
            machines: (0..5).map(machine).collect(),
            forgotten: vec!["x".into()],
            epochs: vec![EpochRow { mac: "x".into(), epoch: 1 }],
            ..Rows::default()
        };
        let pieces = rows.pieces(2);
        let lens: Vec<_> = pieces.iter().map(Rows::len).collect();
        assert_eq!((rows.len(), lens), (7, vec![1, 1, 2, 2, 1]));
        assert!(pieces.iter().all(|piece| piece.now == 7));
        assert_eq!((pieces[0].forgotten.len(), pieces[1].epochs.len()), (1, 1), "before all others");
        let machines: Vec<_> = pieces.iter().flat_map(|piece| piece.machines.clone()).collect();
        assert_eq!(machines, rows.machines);
    }
}
