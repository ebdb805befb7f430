//! [`Batch`]: what one transaction writes, as rows that are ready for SQL.

use serde::{Deserialize, Serialize};

use crate::board::{Boot, MemoryError, Step, UnixMs};
use crate::changes::Changes;
use crate::handle::BootRecord;
use crate::machine::{Machine, style_word};
use crate::registry::Registry;
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
    /// Machine, beginning of the test, address, error.
    pub(super) errors: Vec<(String, UnixMs, String, MemoryError)>,
}

impl Batch {
    /// Makes the rows for `changes`. With `everything`, adds all machines of the registry and their boots.
    pub(crate) fn new(
        (now, monotonic): (UnixMs, Timestamp),
        registry: &Registry,
        changes: &Changes,
        everything: bool,
    ) -> Self {
        let mut boots: Vec<_> =
            changes.boots.iter().map(|((mac, _), boot)| (mac.to_string(), boot.clone())).collect();
        let machines = if everything {
            for machine in registry.machines() {
                boots.extend(machine.boots.iter().map(|boot| (machine.shown.mac.clone(), boot.clone())));
            }
            registry.machines().filter_map(row).collect()
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
            errors: errors.collect(),
        }
    }
}

fn row(machine: &Machine) -> Option<(String, String)> {
    let BootRecord { boots, style } = &machine.boot_record;
    let boots = boots.iter().map(|(rule, boots)| (rule.to_string(), *boots)).collect();
    let saved = SavedRef { machine, boots, style: style.map(style_word) };
    // The value has only texts, numbers, lists and maps with text keys, so encoding cannot fail.
    Some((machine.shown.mac.clone(), serde_json::to_string(&saved).ok()?))
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
pub(super) fn read(mac: &str, json: &str) -> Option<Machine> {
    let Saved { mut machine, boots, style } = serde_json::from_str(json).ok()?;
    machine.mac = mac.parse().ok()?;
    let styles = [Style::Direct, Style::Binl, Style::Menu];
    let style = style.and_then(|word| styles.into_iter().find(|style| style_word(*style) == word));
    machine.boot_record =
        BootRecord { boots: boots.into_iter().map(|(rule, n)| (rule.into(), n)).collect(), style };
    Some(machine)
}
