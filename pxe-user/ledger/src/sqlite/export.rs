//! Reads everything, in batches, for a move to another ledger.

use super::retention::integer;
use super::{Database, DatabaseError, FILE};
use crate::rows::{BootRow, ErrorRow, MachineRow, Rows, StepRow};
use std::path::Path;

/// Rows in a batch.
const ROWS: i64 = 2000;

impl Database {
    /// Whether a directory has a database.
    #[must_use]
    pub fn exists(directory: &Path) -> bool {
        directory.join(FILE).exists()
    }

    /// Whether batches of this directory have been spooled for a shared ledger, now or before.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn has_spooled(&self) -> Result<bool, DatabaseError> {
        let sql = "SELECT count(*) FROM sqlite_master WHERE name = 'spool_state'";
        let number = |sql: &str| self.connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let spooled = number(sql).and_then(|tables| match tables {
            0 => Ok(0),
            _ => number("SELECT count(*) FROM spool_state WHERE next > 1"),
        });
        spooled.map(|rows| rows > 0).map_err(|error| DatabaseError::of(&self.path, &error))
    }

    /// Gives all rows to `each`, table by table, in batches of one table. Ends with the first error of `each`.
    ///
    /// # Errors
    /// Why they cannot be read, or the error of `each`.
    pub fn export<E: From<DatabaseError>>(
        &self,
        mut each: impl FnMut(Rows) -> Result<(), E>,
    ) -> Result<(), E> {
        self.table(
            "SELECT mac, json FROM machines ORDER BY mac LIMIT ?1 OFFSET ?2",
            &mut each,
            |rows, row| {
                rows.machines.push(MachineRow { mac: row.get(0)?, json: row.get(1)? });
                Ok(())
            },
        )?;
        let sql = "SELECT mac, at, json FROM boots ORDER BY mac, at LIMIT ?1 OFFSET ?2";
        self.table(sql, &mut each, |rows, row| {
            rows.boots.push(BootRow { mac: row.get(0)?, at: unsigned(row, 1)?, json: row.get(2)? });
            Ok(())
        })?;
        let sql = "SELECT id, at, mac, json FROM steps ORDER BY id LIMIT ?1 OFFSET ?2";
        self.table(sql, &mut each, |rows, row| {
            let (id, at) = (unsigned(row, 0)?, unsigned(row, 1)?);
            rows.steps.push(StepRow { id, at, mac: row.get(2)?, json: row.get(3)? });
            Ok(())
        })?;
        let sql =
            "SELECT mac, test, address, at, json FROM errors ORDER BY mac, test, address LIMIT ?1 OFFSET ?2";
        self.table(sql, &mut each, |rows, row| {
            let (test, at) = (unsigned(row, 1)?, unsigned(row, 3)?);
            rows.errors.push(ErrorRow {
                mac: row.get(0)?,
                test,
                address: row.get(2)?,
                at,
                json: row.get(4)?,
            });
            Ok(())
        })
    }

    fn table<E: From<DatabaseError>>(
        &self,
        sql: &str,
        each: &mut impl FnMut(Rows) -> Result<(), E>,
        add: impl Fn(&mut Rows, &rusqlite::Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), E> {
        let read = |offset: i64| {
            let mut batch = Rows::default();
            let mut statement = self.connection.prepare(sql)?;
            let mut found = statement.query([ROWS, offset])?;
            let mut count = 0;
            while let Some(row) = found.next()? {
                add(&mut batch, row)?;
                count += 1;
            }
            Ok((batch, count))
        };
        let mut offset = 0;
        loop {
            let (batch, count) = read(offset).map_err(|error| DatabaseError::of(&self.path, &error))?;
            if count == 0 {
                return Ok(());
            }
            each(batch)?;
            offset += integer(count);
        }
    }
}

fn unsigned(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.unsigned_abs())
}
