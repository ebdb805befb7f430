//! When old rows are deleted: by an age that no clock of the host can jump over.
//!
//! The time of day may be wrong by years when pxed starts, and may be set at any moment, so it says nothing about how old a
//! row is. The ledger keeps an age of its own: the time for which pxed has run with this database, by the monotonic
//! clock, and a bounded part of the time between two runs. Each row has the ledger's age from when it was written, and is
//! deleted when the ledger is older than that by the retention. So a wrong clock deletes nothing that is younger, whether
//! it runs ahead, comes back, or both.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::database::integer;
use crate::board::UnixMs;
use pxe_proto::time::Timestamp;

/// How often old rows are deleted, by the monotonic clock.
pub(super) const TIDY_EVERY: Duration = Duration::from_secs(60);
/// Rows of each table that one run deletes at most, so that no run is long. Strangers cause fewer in the time between two.
const DELETED_AT_ONCE: i64 = 50_000;
/// Steps that are kept, whatever the retention.
const STEPS_MAX: i64 = 1_000_000;
/// Errors and boots that are kept, of one machine and of all.
const ROWS_OF_ONE_MAX: i64 = 256;
const ROWS_MAX: i64 = 200_000;
/// This part of the retention is the most that is believed to have passed between two runs: a day of thirty.
const ABSENCE_PART: u32 = 30;

/// How old the ledger is, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LedgerClock {
    age: u64,
    last: Option<Timestamp>,
}

impl LedgerClock {
    /// Time has passed, by the monotonic clock. Answers the age now; the time before the first call does not count.
    pub(super) fn advance(&mut self, now: Timestamp) -> u64 {
        let passed = self.last.map_or(Duration::ZERO, |last| now.since(last));
        self.last = Some(self.last.map_or(now, |last| last.max(now)));
        self.age = self.age.saturating_add(millis(passed));
        self.age
    }
}

/// What is believed of the time between two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Absence {
    /// The time of day when the run before this one wrote last.
    pub(crate) written: UnixMs,
    /// Milliseconds that are believed to have passed since then.
    pub(crate) believed: u64,
}

/// The age of a ledger that was just opened, with the time of day and the retention. Without an [`Absence`] if nothing was
/// written yet.
pub(super) fn resume(
    connection: &Connection,
    now: UnixMs,
    retention: Duration,
) -> rusqlite::Result<(LedgerClock, Option<Absence>)> {
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let saved = connection.query_row("SELECT age, wall FROM clock", [], row).optional()?;
    let Some((age, wall)) = saved else { return Ok((LedgerClock::default(), None)) };
    let [age, written] = [age, wall].map(|value| u64::try_from(value).unwrap_or_default());
    let believed = now.0.saturating_sub(written).min(millis(retention / ABSENCE_PART));
    let clock = LedgerClock { age: age.saturating_add(believed), last: None };
    Ok((clock, Some(Absence { written: UnixMs(written), believed })))
}

/// Writes down how old the ledger is, and the time of day.
pub(super) fn save(transaction: &Transaction<'_>, age: u64, now: UnixMs) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO clock VALUES (1, ?1, ?2)";
    transaction.execute(sql, params![integer(age), integer(now.0)]).map(drop)
}

/// Deletes what is older than `retention`, and what is beyond the bounds of each table; at most [`DELETED_AT_ONCE`] of each.
pub(super) fn tidy(transaction: &Transaction<'_>, age: u64, retention: Duration) -> rusqlite::Result<()> {
    let oldest = integer(age.saturating_sub(millis(retention)));
    for (table, key) in [("steps", "id"), ("boots", "mac, at"), ("errors", "mac, test, address")] {
        let sql = format!(
            "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE age < ?1 ORDER BY age LIMIT ?2)"
        );
        transaction.execute(&sql, [oldest, DELETED_AT_ONCE])?;
    }
    let steps: i64 = transaction.query_row("SELECT count(*) FROM steps", [], |row| row.get(0))?;
    if steps > STEPS_MAX {
        let sql = "DELETE FROM steps WHERE id IN (SELECT id FROM steps ORDER BY id LIMIT ?1)";
        transaction.execute(sql, [(steps - STEPS_MAX).min(DELETED_AT_ONCE)])?;
    }
    bound(transaction, ROWS_OF_ONE_MAX, ROWS_MAX)
}

/// Deletes the oldest errors and boots beyond what is kept of one machine, and of all. Oldest by the ledger's age: a row
/// that was written while the clock ran ahead is not the newest for ever.
fn bound(transaction: &Transaction<'_>, of_one: i64, of_all: i64) -> rusqlite::Result<()> {
    for (table, key) in [("errors", "mac, test, address"), ("boots", "mac, at")] {
        let ranked = format!(
            "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM (SELECT {key}, row_number() OVER \
             (PARTITION BY mac ORDER BY age DESC, at DESC) AS rank FROM {table}) WHERE rank > ?1 LIMIT ?2)"
        );
        transaction.execute(&ranked, [of_one, DELETED_AT_ONCE])?;
        let oldest = format!(
            "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} ORDER BY age DESC, at DESC LIMIT ?2 OFFSET ?1)"
        );
        transaction.execute(&oldest, [of_all, DELETED_AT_ONCE])?;
    }
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
