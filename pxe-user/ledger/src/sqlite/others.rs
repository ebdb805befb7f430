//! What other responders wrote last of their machines, and the versions of this responder's own: so a restart knows at once
//! which machine belongs to whom, also while the shared database is away.
//!
//! The tables exist only with a spool. A machine that this responder writes leaves `others`. The database of a flooded fleet
//! may be large, so the number of rows is bounded; what is beyond is known after the next look at the shared database.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, Transaction, params};

use super::retention::integer;
use super::{Database, DatabaseError};
use crate::rows::{OtherRow, Rows};

/// `others` has row numbers: rows of a kilobyte in a table without them take an overflow page of 4096 bytes each.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS versions (mac TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS others (mac TEXT PRIMARY KEY, responder TEXT NOT NULL, version INTEGER NOT NULL,
        json TEXT NOT NULL, boot TEXT);
";
/// Maximum number of machines of other responders: as many as the fleet keeps in memory.
pub const OTHERS_MAX: u64 = 1 << 18;

impl Database {
    /// Stores what other responders wrote. From now on, this responder's versions are greater than theirs.
    ///
    /// # Errors
    /// Why it is not stored. The versions are greater all the same.
    pub fn learn(&mut self, rows: &[OtherRow]) -> Result<(), DatabaseError> {
        let Some(greatest) = rows.iter().map(|row| row.version).max() else { return Ok(()) };
        let Some(spool) = &mut self.spool else { return Ok(()) };
        spool.observe(greatest);
        let done = (|| {
            let transaction = self.connection.transaction()?;
            spool.save(&transaction)?;
            let others = put(&transaction, rows, spool.others)?;
            transaction.commit()?;
            spool.others = others;
            Ok(())
        })();
        done.map_err(|error| DatabaseError::of(&self.path, &error))
    }

    /// Deletes machines of other responders that are not in `listed`, because the shared database has them no longer, with
    /// older rows of this responder.
    ///
    /// # Errors
    /// Why they are still there.
    pub fn keep_others(&mut self, listed: &HashSet<String>) -> Result<(), DatabaseError> {
        let Some(spool) = &mut self.spool else { return Ok(()) };
        let done = (|| {
            let transaction = self.connection.transaction()?;
            let older = "SELECT mac FROM others LEFT JOIN versions USING (mac) \
                         WHERE mac = ?1 AND coalesce(versions.version, 0) < others.version";
            for mac in macs(&transaction)?.iter().filter(|mac| !listed.contains(*mac)) {
                if transaction.prepare(older)?.exists([mac])? {
                    for table in ["machines", "boots", "versions"] {
                        transaction.execute(&format!("DELETE FROM {table} WHERE mac = ?1"), [mac])?;
                    }
                }
                transaction.execute("DELETE FROM others WHERE mac = ?1", [mac])?;
            }
            let others = count(&transaction)?;
            transaction.commit()?;
            spool.others = others;
            Ok(())
        })();
        done.map_err(|error| DatabaseError::of(&self.path, &error))
    }

    /// Reads the machines of other responders.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn others(&self) -> Result<Vec<OtherRow>, DatabaseError> {
        if self.spool.is_none() {
            return Ok(Vec::new());
        }
        let read = || {
            let mut statement =
                self.connection.prepare("SELECT mac, responder, version, json, boot FROM others")?;
            let rows = statement.query_map([], |row| {
                Ok(OtherRow {
                    mac: row.get(0)?,
                    responder: row.get(1)?,
                    version: row.get::<_, i64>(2)?.unsigned_abs(),
                    json: row.get(3)?,
                    boot: row.get(4)?,
                })
            })?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| DatabaseError::of(&self.path, &error))
    }

    /// Reads the versions of the machines that this responder wrote.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn versions(&self) -> Result<HashMap<String, u64>, DatabaseError> {
        if self.spool.is_none() {
            return Ok(HashMap::new());
        }
        let read = || {
            let mut statement = self.connection.prepare("SELECT mac, version FROM versions")?;
            let rows =
                statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| DatabaseError::of(&self.path, &error))
    }
}

/// Notes the version of the machines of a batch of this responder. Returns how many of them were those of others before.
pub(super) fn written(transaction: &Transaction<'_>, rows: &Rows, version: u64) -> rusqlite::Result<u64> {
    let mut forget = transaction.prepare("DELETE FROM versions WHERE mac = ?1")?;
    for mac in &rows.forgotten {
        forget.execute([mac])?;
    }
    let mut note = transaction.prepare("INSERT OR REPLACE INTO versions VALUES (?1, ?2)")?;
    let mut take_over = transaction.prepare("DELETE FROM others WHERE mac = ?1")?;
    let mut taken_over = 0;
    for machine in &rows.machines {
        note.execute(params![machine.mac, integer(version)])?;
        taken_over += take_over.execute([&machine.mac])? as u64;
    }
    Ok(taken_over)
}

/// Number of machines of other responders.
pub(super) fn count(connection: &Connection) -> rusqlite::Result<u64> {
    let count: i64 = connection.query_row("SELECT count(*) FROM others", [], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Stores rows, beside `count` machines that there are. Returns how many there are then.
fn put(transaction: &Transaction<'_>, rows: &[OtherRow], mut count: u64) -> rusqlite::Result<u64> {
    let mut known = transaction.prepare("SELECT mac FROM others WHERE mac = ?1")?;
    let sql = "INSERT INTO others VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (mac) DO UPDATE SET \
               responder = excluded.responder, version = excluded.version, json = excluded.json, boot = excluded.boot \
               WHERE (others.version, others.responder) < (excluded.version, excluded.responder)";
    let mut insert = transaction.prepare(sql)?;
    for OtherRow { mac, responder, version, json, boot } in rows {
        let is_known = known.exists([mac])?;
        if !is_known && count >= OTHERS_MAX {
            continue;
        }
        count += u64::from(!is_known);
        insert.execute(params![mac, responder, integer(*version), json, boot])?;
    }
    Ok(count)
}

fn macs(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("SELECT mac FROM others")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rows::MachineRow;

    const NOW: u64 = 1_000_000;

    fn open() -> (tempfile::TempDir, Database) {
        let place = tempfile::tempdir().unwrap();
        let (mut database, _) = Database::open(place.path(), NOW, Duration::from_secs(1)).unwrap();
        database.open_spool(u64::MAX, "mine").unwrap();
        (place, database)
    }

    fn other(mac: &str, responder: &str, version: u64) -> OtherRow {
        OtherRow { mac: mac.into(), responder: responder.into(), version, ..OtherRow::default() }
    }

    fn write(database: &mut Database, mac: &str) {
        let machines = vec![MachineRow { mac: mac.into(), json: "{}".into() }];
        let rows = Rows { now: NOW, machines, ..Rows::default() };
        database.write(&rows, Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn the_greatest_version_stays_and_own_versions_are_greater() {
        let (_place, mut database) = open();
        let rows = [other("a", "r2", NOW + 7), other("a", "r1", NOW + 7), other("a", "r3", NOW + 6)];
        database.learn(&rows).unwrap();
        assert_eq!(database.others().unwrap(), rows[..1]);
        write(&mut database, "a");
        assert_eq!(database.others().unwrap(), []);
        assert_eq!(database.versions().unwrap(), HashMap::from([("a".to_owned(), NOW + 8)]));
        assert_eq!(database.version(), NOW + 8);
    }

    #[test]
    fn the_number_of_machines_of_others_is_that_of_the_rows() {
        let (_place, mut database) = open();
        let held = |database: &Database| {
            let counted = count(&database.connection).unwrap();
            (database.spool.as_ref().unwrap().others, counted)
        };
        database.learn(&[other("a", "r2", 1), other("b", "r2", 1), other("a", "r2", 2)]).unwrap();
        assert_eq!(held(&database), (2, 2));
        write(&mut database, "a");
        write(&mut database, "c");
        assert_eq!(held(&database), (1, 1));
        database.keep_others(&HashSet::new()).unwrap();
        assert_eq!(held(&database), (0, 0));
    }

    #[test]
    fn a_machine_that_is_gone_takes_an_older_row_of_this_host_along() {
        let (place, mut database) = open();
        write(&mut database, "a");
        write(&mut database, "b");
        database.learn(&[other("a", "r2", NOW * 2), other("b", "r2", 1), other("c", "r2", 1)]).unwrap();
        database.keep_others(&HashSet::from(["c".to_owned()])).unwrap();
        assert_eq!(database.others().unwrap(), [other("c", "r2", 1)]);
        drop(database);
        let (_, loaded) = Database::open(place.path(), NOW, Duration::from_secs(1)).unwrap();
        let left: Vec<_> = loaded.machines.iter().map(|machine| machine.row.mac.as_str()).collect();
        assert_eq!(left, ["b"], "the row of this host is newer");
    }
}
