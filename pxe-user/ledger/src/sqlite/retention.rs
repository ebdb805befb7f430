//! Deletes old rows, by an age that does not depend on the wall clock.
//!
//! The wall clock may be wrong by years when pxed starts, and may be set at any moment, so it cannot say how
//! old a row is. Therefore the database has an age of its own, the [`LedgerClock`]: the time for which pxed
//! has run with this database, by the monotonic clock, and a bounded part of the time between two runs. Each
//! row stores the database's age at which it was written. It is deleted when the difference is greater than
//! the retention. So a wrong clock deletes no younger row, whether it runs ahead, comes back, or both.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use crate::rows::Absence;
use pxe_proto::time::Timestamp;

/// How often old rows are deleted, by the monotonic clock.
pub(super) const TIDY_EVERY: Duration = Duration::from_secs(60);
/// Maximum number of rows that one statement of a pass deletes, so that no pass takes long. Strangers can
/// cause fewer new rows than this between two passes.
const DELETED_AT_ONCE: i64 = 50_000;
/// Maximum number of steps, whatever the retention is.
const STEPS_MAX: i64 = 1_000_000;
/// Maximum number of errors, and of boots: for one machine, and for all machines.
const ROWS_OF_ONE_MAX: i64 = 256;
const ROWS_MAX: i64 = 200_000;
/// At most the retention divided by this counts as the time between two runs: one day of thirty.
const ABSENCE_PART: u32 = 30;

/// The age of the database, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LedgerClock {
    age: u64,
    last: Option<Timestamp>,
}

impl LedgerClock {
    /// Adds the time since the last call, by the monotonic clock, and returns the age. The time before the
    /// first call does not count.
    pub(super) fn advance(&mut self, now: Timestamp) -> u64 {
        let passed = self.last.map_or(Duration::ZERO, |last| now.since(last));
        self.last = Some(self.last.map_or(now, |last| last.max(now)));
        self.age = self.age.saturating_add(millis(passed));
        self.age
    }
}

/// Returns the age of a database that was just opened. `now` is the wall-clock time. The [`Absence`] is
/// `None` if nothing was written yet.
pub(super) fn resume(
    connection: &Connection,
    now: u64,
    retention: Duration,
) -> rusqlite::Result<(LedgerClock, Option<Absence>)> {
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let saved = connection.query_row("SELECT age, wall FROM clock", [], row).optional()?;
    let Some((age, wall)) = saved else { return Ok((LedgerClock::default(), None)) };
    let [age, written] = [age, wall].map(|value| u64::try_from(value).unwrap_or_default());
    let believed = now.saturating_sub(written).min(millis(retention / ABSENCE_PART));
    let clock = LedgerClock { age: age.saturating_add(believed), last: None };
    Ok((clock, Some(Absence { written, believed })))
}

/// Stores the database's age and the wall-clock time.
pub(super) fn save(transaction: &Transaction<'_>, age: u64, now: u64) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO clock VALUES (1, ?1, ?2)";
    transaction.execute(sql, params![integer(age), integer(now)]).map(drop)
}

/// Deletes rows that are older than `retention`, and rows beyond the limit of each table. Each statement
/// deletes [`DELETED_AT_ONCE`] rows at most.
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

/// Deletes the oldest errors and boots beyond the limits for one machine and for all. The order is by the
/// database's age first, so that a row that was written while the wall clock ran ahead is not the newest for
/// ever.
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

/// SQLite's integers are signed. Times and numbers of steps are far below the limit.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
