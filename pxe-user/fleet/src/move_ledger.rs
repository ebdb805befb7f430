//! [`move_ledger`]: copies the ledger of a directory to a database that several responders share (`pxed ledger move`).
//!
//! Each batch is a transaction, and rows have keys of their own, so a move that was interrupted can be repeated, and a repeat
//! changes nothing. A machine's version is the time of the directory's last write: what a responder has written since wins.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::config::wall_clock;
use pxe_ledger::postgres::{Postgres, PostgresError, Target, Writer};
use pxe_ledger::rows::{CountedRow, EpochRow, MachineRow, NumberedRows, Rows};
use pxe_ledger::sqlite::{Database, DatabaseError};

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Number of machines.
    pub machines: usize,
    /// Number of boots.
    pub boots: usize,
    /// Number of steps.
    pub steps: usize,
    /// Number of memory errors.
    pub errors: usize,
    /// Number of machines and rules whose boots count. `None` if the counts were left out, because a daemon with a shared ledger
    /// has sent boots of this directory itself, and they would count twice.
    pub counts: Option<usize>,
}

/// Why the move did not end.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// There is no database in the directory.
    #[error("{} contains no pxed.db: name the directory that is `state` in the configuration", .0.display())]
    NoLedger(PathBuf),
    /// The directory's database cannot be read. A running daemon holds its lock.
    #[error(transparent)]
    From(#[from] DatabaseError),
    /// The shared database takes nothing.
    #[error(transparent)]
    To(#[from] PostgresError),
}

/// Copies everything.
///
/// # Errors
/// Why it did not end. What was copied until then stays; repeat the move.
pub fn move_ledger(from: &Path, target: &Target, responder: &str, host: &str) -> Result<Moved, MoveError> {
    if !Database::exists(from) {
        return Err(MoveError::NoLedger(from.to_owned()));
    }
    let name = pxe_ledger::random_name().map_err(|error| PostgresError::Other(error.to_string()))?;
    let (database, loaded) = Database::open(from, wall_clock().0, Duration::MAX)?;
    let version = loaded.absence.map_or(1, |absence| absence.written);
    let has_spooled = database.has_spooled()?;
    let (responder, host) = (responder.to_owned(), host.to_owned());
    let (mut ledger, known) =
        Postgres::connect(target, Writer { responder: responder.clone(), instance: name.clone(), host })?;
    let mut moved = Moved { counts: (!has_spooled).then_some(0), ..Moved::default() };
    // Numbers after those of a daemon with this name, so that its batches and these are told apart.
    let mut sequence = known.sequence;
    database.export(|mut rows: Rows| {
        if let Some(counts) = &mut moved.counts {
            for machine in &rows.machines {
                let (epoch, counted) = counts_of(machine, &responder);
                *counts += counted.len();
                rows.epochs.extend(epoch);
                rows.counted.extend(counted);
            }
        }
        moved.machines += rows.machines.len();
        moved.boots += rows.boots.len();
        moved.steps += rows.steps.len();
        moved.errors += rows.errors.len();
        sequence += 1;
        ledger.write(&name, &[NumberedRows { sequence, version, rows }]).map_err(MoveError::from)
    })?;
    ledger.release()?;
    Ok(moved)
}

/// The epoch of a machine, and its counts: one row for each rule.
fn counts_of(machine: &MachineRow, responder: &str) -> (Option<EpochRow>, Vec<CountedRow>) {
    let json: Value = serde_json::from_str(&machine.json).unwrap_or_default();
    let epoch = json["machine"]["epoch"].as_u64().unwrap_or_default();
    let counted = json["boots"].as_array().into_iter().flatten().filter_map(|pair| {
        let (rule, count) = (pair[0].as_str()?.to_owned(), pair[1].as_u64()?);
        let count = u32::try_from(count).ok().filter(|count| *count > 0)?;
        let boot = format!("before the move from {responder}");
        Some(CountedRow { mac: machine.mac.clone(), rule, boot, epoch, count })
    });
    let raised = (epoch > 0).then(|| EpochRow { mac: machine.mac.clone(), epoch });
    (raised, counted.collect())
}
