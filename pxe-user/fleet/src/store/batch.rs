//! [`Batch`]: what one transaction writes. [`Batch::rows`] makes the ledger's rows of it, and [`opened`] reads rows.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Opened;
use crate::absence::Absence;
use crate::board::{Boot, MemoryError, Step, UnixMs};
use crate::changes::{BootKey, Changes, Counted};
use crate::handle::BootRecord;
use crate::machine::{Machine, style_word};
use crate::registry::Registry;
use pxe_ledger::rows::{
    BootRow, CountedRow, EpochRow, ErrorRow, Loaded, MachineRow, OtherRow, Rows, StepRow,
};
use pxe_proto::dhcp::Style;
use pxe_proto::mac::Mac;
use pxe_proto::time::Timestamp;

/// Rows of all tables.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The wall-clock time.
    pub(crate) now: UnixMs,
    /// The same moment on the monotonic clock.
    pub(super) monotonic: Timestamp,
    /// Address and JSON of each machine. The JSON is a [`Saved`].
    pub(crate) machines: Vec<(String, String)>,
    pub(super) forgotten: Vec<String>,
    pub(super) boots: Vec<(String, Boot)>,
    pub(super) steps: Vec<Step>,
    counted: Vec<Counted>,
    epochs: Vec<(String, u64)>,
    /// Machine, beginning of the test, address, error.
    pub(super) errors: Vec<(String, UnixMs, String, MemoryError)>,
}

impl Batch {
    /// Makes the rows for `changes`. With `everything`, adds all machines of this responder and their boots.
    pub(crate) fn new(
        (now, monotonic): (UnixMs, Timestamp),
        registry: &Registry,
        changes: &Changes,
        everything: bool,
    ) -> Self {
        let mut boots: Vec<_> =
            changes.boots.iter().map(|((mac, _), boot)| (mac.to_string(), boot.clone())).collect();
        let machines = if everything {
            let own = || registry.machines().filter(|machine| !machine.is_foreign());
            for machine in own() {
                boots.extend(machine.boots.iter().map(|boot| (machine.shown.mac.clone(), boot.clone())));
            }
            own().filter_map(row).collect()
        } else {
            changes.machines.iter().filter_map(|mac| registry.machine(*mac)).filter_map(row).collect()
        };
        let errors = changes.errors.iter();
        let errors = errors
            .map(|((mac, test, address), error)| (mac.to_string(), *test, address.clone(), error.clone()));
        Self {
            now,
            monotonic,
            machines,
            forgotten: changes.forgotten.iter().map(Mac::to_string).collect(),
            boots,
            steps: changes.steps.clone(),
            counted: changes.counted.clone(),
            epochs: changes.epochs.iter().map(|(mac, epoch)| (mac.to_string(), *epoch)).collect(),
            errors: errors.collect(),
        }
    }

    /// The rows of this batch, written by `responder`. Encoding takes time, so the store's thread does it.
    pub(super) fn rows(&self, responder: &str) -> Rows {
        let counted = |counted: &Counted| CountedRow {
            mac: counted.mac.to_string(),
            rule: counted.rule.clone(),
            boot: match &counted.boot {
                BootKey::Nonce(nonce) => nonce.to_string(),
                BootKey::Began(began) => format!("{} of {responder}", began.0),
            },
            epoch: counted.epoch,
            count: 1,
        };
        let boots = self.boots.iter();
        let errors = self.errors.iter();
        Rows {
            now: self.now.0,
            monotonic: self.monotonic,
            machines: self
                .machines
                .iter()
                .map(|(mac, json)| MachineRow { mac: mac.clone(), json: json.clone() })
                .collect(),
            forgotten: self.forgotten.clone(),
            boots: boots
                .filter_map(|(mac, boot)| {
                    Some(BootRow { mac: mac.clone(), at: boot.at.0, json: json(boot)? })
                })
                .collect(),
            steps: self.steps.iter().filter_map(step_row).collect(),
            errors: errors
                .filter_map(|(mac, test, address, error)| {
                    let (mac, address) = (mac.clone(), address.clone());
                    Some(ErrorRow { mac, test: test.0, address, at: error.at.0, json: json(error)? })
                })
                .collect(),
            epochs: self
                .epochs
                .iter()
                .map(|(mac, epoch)| EpochRow { mac: mac.clone(), epoch: *epoch })
                .collect(),
            counted: self.counted.iter().map(counted).collect(),
        }
    }
}

fn step_row(step: &Step) -> Option<StepRow> {
    Some(StepRow { id: step.id, at: step.at.0, mac: step.mac.clone(), json: json(step)? })
}

/// The values have only texts, numbers, lists and maps with text keys, so encoding cannot fail.
fn json(value: &impl Serialize) -> Option<String> {
    serde_json::to_string(value).ok()
}

/// What the ledger had, as the fleet knows it. Leaves out what cannot be read. `versions` and `others` are for a shared ledger.
pub(super) fn opened(loaded: Loaded, versions: &HashMap<String, u64>, others: &[OtherRow]) -> Opened {
    let Loaded { machines, steps, last_step, absence, set_aside } = loaded;
    let machines = machines.into_iter().filter_map(|loaded| {
        let MachineRow { mac, json } = loaded.row;
        let Some(mut machine) = read(&mac, &json) else {
            tracing::warn!(event = "machine_unread", mac, "skipped a machine's record that cannot be read");
            return None;
        };
        machine.boots = read_all(&loaded.boots);
        machine.version = versions.get(&mac).copied().unwrap_or_default();
        // An older pxed, or a copy of another host's directory, may have written a name.
        machine.take_over();
        Some(machine)
    });
    Opened {
        machines: machines.collect(),
        others: others.iter().filter_map(other).collect(),
        steps: read_all(&steps),
        last_step,
        absence: absence
            .map(|absence| Absence { written: UnixMs(absence.written), believed: absence.believed }),
        set_aside,
    }
}

/// A machine of another responder. Leaves out one that cannot be read: a later pxed may have written it.
pub(super) fn other(row: &OtherRow) -> Option<Machine> {
    let mut machine = read(&row.mac, &row.json)?;
    machine.boots = read_all(row.boot.as_slice());
    machine.version = row.version;
    machine.shown.responder = Some(row.responder.clone());
    Some(machine)
}

/// Reads values from JSON. Leaves out those that cannot be read.
pub(super) fn read_all<T: DeserializeOwned, C: FromIterator<T>>(texts: &[String]) -> C {
    texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect()
}

fn row(machine: &Machine) -> Option<(String, String)> {
    let BootRecord { boots, style } = &machine.boot_record;
    let boots = boots.iter().map(|(rule, boots)| (rule.to_string(), *boots)).collect();
    let saved = SavedRef { machine, boots, style: style.map(style_word) };
    Some((machine.shown.mac.clone(), json(&saved)?))
}

#[derive(Serialize)]
struct SavedRef<'a> {
    machine: &'a Machine,
    boots: Vec<(String, u32)>,
    style: Option<&'static str>,
}

/// A machine as JSON in the database. [`SavedRef`] writes it.
#[derive(Deserialize)]
struct Saved {
    machine: Machine,
    #[serde(default)]
    boots: Vec<(String, u32)>,
    #[serde(default)]
    style: Option<String>,
}

/// Reads what [`row`] wrote. Returns `None` if it cannot be read.
fn read(mac: &str, json: &str) -> Option<Machine> {
    let Saved { mut machine, boots, style } = serde_json::from_str(json).ok()?;
    machine.mac = mac.parse().ok()?;
    let styles = [Style::Direct, Style::Binl, Style::Menu];
    let style = style.and_then(|word| styles.into_iter().find(|style| style_word(*style) == word));
    machine.boot_record =
        BootRecord { boots: boots.into_iter().map(|(rule, n)| (rule.into(), n)).collect(), style };
    Some(machine)
}
