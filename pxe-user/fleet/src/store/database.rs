//! [`Database`]: SQLite. Opens and migrates the database, writes batches, and reads the history.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, params};
use rustix::fs::{FlockOperation, flock};

use super::retention::{self, LedgerClock, integer};
use super::{Batch, Opened, batch};
use crate::board::{Boot, Step, Story, UnixMs};
use crate::machine::Machine;
use pxe_proto::mac::Mac;
use pxe_proto::time::Timestamp;

const FILE: &str = "pxed.db";
const LOCK: &str = "pxed.lock";
/// How long to wait while another program holds the database, such as `sqlite3` while it reads.
const BUSY: Duration = Duration::from_secs(1);
/// Steps that are read at the start.
const STEPS_READ: i64 = 4096;
/// Maximum number of steps, and of boots, in the history of one machine.
const STORY_STEPS: i64 = 500;
const STORY_BOOTS: i64 = 256;

/// The migrations. The one with index n leads from `user_version` n to n + 1.
pub(super) const MIGRATIONS: &[&str] = &["
    CREATE TABLE machines (mac TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE boots (mac TEXT NOT NULL, at INTEGER NOT NULL, json TEXT NOT NULL, PRIMARY KEY (mac, at)) WITHOUT ROWID;
    CREATE INDEX boots_at ON boots (at);
    CREATE TABLE steps (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, mac TEXT NOT NULL, json TEXT NOT NULL);
    CREATE INDEX steps_mac ON steps (mac, id);
    CREATE INDEX steps_at ON steps (at);
    CREATE TABLE errors (mac TEXT NOT NULL, test INTEGER NOT NULL, address TEXT NOT NULL, at INTEGER NOT NULL, json TEXT NOT NULL,
        PRIMARY KEY (mac, test, address)) WITHOUT ROWID;
    CREATE INDEX errors_at ON errors (at);
", "
    CREATE TABLE clock (id INTEGER PRIMARY KEY CHECK (id = 1), age INTEGER NOT NULL, wall INTEGER NOT NULL);
    ALTER TABLE boots ADD COLUMN age INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE steps ADD COLUMN age INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE errors ADD COLUMN age INTEGER NOT NULL DEFAULT 0;
    DROP INDEX boots_at;
    DROP INDEX steps_at;
    DROP INDEX errors_at;
    CREATE INDEX boots_age ON boots (age);
    CREATE INDEX steps_age ON steps (age);
    CREATE INDEX errors_age ON errors (age);
"];

/// Why nothing is stored, with the remedy.
#[derive(Debug, thiserror::Error)]
pub(super) enum DatabaseError {
    #[error("another pxed uses {0}: stop it, or give this one another directory")]
    Taken(PathBuf),
    #[error("the disk of {0} is full: free some space")]
    Full(PathBuf),
    #[error("another program has locked {0}: end it")]
    Locked(PathBuf),
    #[error(
        "{path} cannot be written ({reason}): check its owner, its permissions, and whether its file system is read-only"
    )]
    Unwritable { path: PathBuf, reason: String },
    #[error("{path} is damaged ({reason})")]
    Damaged { path: PathBuf, reason: String },
    #[error("{0} was written by a newer pxed: run that version, or use another directory")]
    Newer(PathBuf),
    #[error("{path}: {reason}")]
    Other { path: PathBuf, reason: String },
}

impl DatabaseError {
    fn of(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, reason) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(path),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked(path),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged { path, reason },
            Some(
                ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::SystemIoFailure,
            ) => Self::Unwritable { path, reason },
            _ => Self::Other { path, reason },
        }
    }

    fn io(path: &Path, error: &io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path),
            _ => Self::Unwritable { path, reason: error.to_string() },
        }
    }
}

/// An open database, and the lock of its directory.
pub(super) struct Database {
    connection: Connection,
    path: PathBuf,
    clock: LedgerClock,
    /// When old rows were last deleted, on the monotonic clock.
    tidied: Option<Timestamp>,
    _lock: File,
}

impl Database {
    /// Opens the database in a directory. Moves a damaged one away, and creates a new one.
    pub(super) fn open(
        directory: &Path,
        now: UnixMs,
        retention: Duration,
    ) -> Result<(Self, Opened), DatabaseError> {
        let lock = lock(directory)?;
        match Self::open_locked(directory, lock, now, retention) {
            Err(DatabaseError::Damaged { .. }) => Self::replace(directory, now, retention),
            other => other,
        }
    }

    /// Moves a damaged database away, and creates a new one. Takes the directory's lock, so the caller must
    /// have released it.
    pub(super) fn replace(
        directory: &Path,
        now: UnixMs,
        retention: Duration,
    ) -> Result<(Self, Opened), DatabaseError> {
        let lock = lock(directory)?;
        let aside = format!("{FILE}.damaged-{}", now.0 / 1000);
        for end in ["", "-wal", "-shm"] {
            let from = directory.join(format!("{FILE}{end}"));
            match std::fs::rename(&from, directory.join(format!("{aside}{end}"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(DatabaseError::io(&from, &error));
                }
                _ => {}
            }
        }
        let (database, mut opened) = Self::open_locked(directory, lock, now, retention)?;
        let aside = directory.join(aside);
        opened.set_aside = Some(format!(
            "the database was damaged: pxed moved it to {} and started a new one. The old history is not shown",
            aside.display()
        ));
        Ok((database, opened))
    }

    fn open_locked(
        directory: &Path,
        lock: File,
        now: UnixMs,
        retention: Duration,
    ) -> Result<(Self, Opened), DatabaseError> {
        let path = directory.join(FILE);
        // SQLite would create a file that all users can read. It gives its `-wal` and `-shm` files the
        // permissions of this one.
        private_file(&path)?;
        let sqlite = |error: rusqlite::Error| DatabaseError::of(&path, &error);
        let mut connection = Connection::open(&path).map_err(sqlite)?;
        connection.busy_timeout(BUSY).map_err(sqlite)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(sqlite)?;
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(sqlite)?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20).map_err(sqlite)?;
        // For a large batch SQLite would make temporary files, in a directory that the confined daemon cannot
        // write. The batch would fail.
        connection.pragma_update(None, "temp_store", "MEMORY").map_err(sqlite)?;
        let version: u32 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sqlite)?;
        let missing = MIGRATIONS.get(version as usize..).ok_or_else(|| DatabaseError::Newer(path.clone()))?;
        migrate(&mut connection, missing, version).map_err(sqlite)?;
        let (clock, absence) = retention::resume(&connection, now, retention).map_err(sqlite)?;
        let opened = Opened { absence, ..load(&connection).map_err(sqlite)? };
        Ok((Self { connection, path, clock, tidied: None, _lock: lock }, opened))
    }

    /// Writes a batch: all of it, or nothing.
    pub(super) fn write(&mut self, batch: &Batch, retention: Duration) -> Result<(), DatabaseError> {
        let sqlite = |error: rusqlite::Error| DatabaseError::of(&self.path, &error);
        let transaction = self.connection.transaction().map_err(sqlite)?;
        let age = self.clock.advance(batch.monotonic);
        insert(&transaction, batch, integer(age)).map_err(sqlite)?;
        retention::save(&transaction, age, batch.now).map_err(sqlite)?;
        let is_due = |tidied| batch.monotonic.since(tidied) >= retention::TIDY_EVERY;
        let tidy = self.tidied.is_none_or(is_due);
        if tidy {
            retention::tidy(&transaction, age, retention).map_err(sqlite)?;
        }
        transaction.commit().map_err(sqlite)?;
        if tidy {
            self.tidied = Some(batch.monotonic);
        }
        Ok(())
    }

    /// Replaces the boots and steps of a history with those in the database. If they cannot be read, leaves
    /// the history as it is, and logs a warning.
    pub(super) fn complete(&self, mac: Mac, story: &mut Story) {
        match self.story(mac) {
            Ok((boots, steps)) => {
                story.boots = boots;
                story.steps = steps;
            }
            Err(error) => {
                tracing::warn!(event = "story_unread", %mac, "{}", DatabaseError::of(&self.path, &error))
            }
        }
    }

    fn story(&self, mac: Mac) -> rusqlite::Result<(Vec<Boot>, Vec<Step>)> {
        let mac = mac.to_string();
        let sql = "SELECT json FROM boots WHERE mac = ?1 ORDER BY at DESC LIMIT ?2";
        let boots = self.texts(sql, params![mac, STORY_BOOTS])?;
        let sql = "SELECT json FROM steps WHERE mac = ?1 ORDER BY id DESC LIMIT ?2";
        let steps = self.texts(sql, params![mac, STORY_STEPS])?;
        Ok((boots, steps))
    }

    /// Returns the steps after number `after`, oldest first. Returns none if they cannot be read.
    pub(super) fn steps(&self, after: u64, most: usize) -> Vec<Step> {
        let sql = "SELECT json FROM steps WHERE id > ?1 ORDER BY id LIMIT ?2";
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        self.texts(sql, params![after, i64::try_from(most).unwrap_or(i64::MAX)]).unwrap_or_default()
    }

    /// Runs a query for one column of JSON. Leaves out values that cannot be read.
    fn texts<T: serde::de::DeserializeOwned>(
        &self,
        sql: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> rusqlite::Result<Vec<T>> {
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map(values, |row| row.get::<_, String>(0))?;
        let texts = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
    }
}

/// Creates the directory if needed, and locks it for this process.
fn lock(directory: &Path) -> Result<File, DatabaseError> {
    let unwritable = |error: io::Error| DatabaseError::io(directory, &error);
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unwritable)?;
    let path = directory.join(LOCK);
    let file = private_file(&path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DatabaseError::Taken(directory.to_owned())),
        Err(error) => Err(DatabaseError::io(&path, &error.into())),
    }
}

fn private_file(path: &Path) -> Result<File, DatabaseError> {
    let io = |error: io::Error| DatabaseError::io(path, &error);
    let mut options = OpenOptions::new();
    let file =
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io)?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(io)?;
    Ok(file)
}

pub(super) fn migrate(connection: &mut Connection, missing: &[&str], version: u32) -> rusqlite::Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for step in missing {
        transaction.execute_batch(step)?;
    }
    let reached = version.saturating_add(u32::try_from(missing.len()).unwrap_or_default());
    transaction.pragma_update(None, "user_version", reached)?;
    transaction.commit()
}

fn load(connection: &Connection) -> rusqlite::Result<Opened> {
    let mut machines = Vec::new();
    let mut statement = connection.prepare("SELECT mac, json FROM machines")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (mac, json): (String, String) = (row.get(0)?, row.get(1)?);
        match batch::read(&mac, &json) {
            Some(machine) => machines.push(machine),
            None => tracing::warn!(
                event = "machine_unread",
                mac,
                "skipped a machine's record that cannot be read"
            ),
        }
    }
    load_boots(connection, &mut machines)?;
    let mut statement = connection.prepare("SELECT json FROM steps ORDER BY id DESC LIMIT ?1")?;
    let texts = statement.query_map([STEPS_READ], |row| row.get::<_, String>(0))?;
    let texts = texts.collect::<rusqlite::Result<Vec<_>>>()?;
    let steps: Vec<_> =
        texts.iter().rev().filter_map(|text| serde_json::from_str::<Step>(text).ok()).collect();
    let last: Option<i64> =
        connection.query_row("SELECT max(id) FROM steps", [], |row| row.get(0)).optional()?.flatten();
    let last_step = last.and_then(|last| u64::try_from(last).ok()).unwrap_or_default();
    Ok(Opened { machines, steps, last_step, ..Opened::default() })
}

fn load_boots(connection: &Connection, machines: &mut [Machine]) -> rusqlite::Result<()> {
    let sql = "SELECT json FROM boots WHERE mac = ?1 ORDER BY at DESC LIMIT 32";
    let mut statement = connection.prepare(sql)?;
    for machine in machines {
        let rows = statement.query_map([&machine.shown.mac], |row| row.get::<_, String>(0))?;
        let texts = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        machine.boots = texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    }
    Ok(())
}

/// Writes a batch's rows. `age` is the database's age now, in milliseconds.
fn insert(transaction: &Transaction<'_>, batch: &Batch, age: i64) -> rusqlite::Result<()> {
    let mut forget = transaction.prepare("DELETE FROM machines WHERE mac = ?1")?;
    let mut forget_boots = transaction.prepare("DELETE FROM boots WHERE mac = ?1")?;
    for mac in &batch.forgotten {
        forget.execute([mac])?;
        forget_boots.execute([mac])?;
    }
    let mut machine = transaction.prepare("INSERT OR REPLACE INTO machines VALUES (?1, ?2)")?;
    for (mac, json) in &batch.machines {
        machine.execute([mac, json])?;
    }
    let mut boot = transaction.prepare("INSERT OR REPLACE INTO boots VALUES (?1, ?2, ?3, ?4)")?;
    for (mac, value) in &batch.boots {
        boot.execute(params![mac, integer(value.at.0), json(value)?, age])?;
    }
    let mut step = transaction.prepare("INSERT OR REPLACE INTO steps VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for value in &batch.steps {
        step.execute(params![integer(value.id), integer(value.at.0), value.mac, json(value)?, age])?;
    }
    let sql = "INSERT OR REPLACE INTO errors VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut error = transaction.prepare(sql)?;
    for (mac, test, address, value) in &batch.errors {
        error.execute(params![mac, integer(test.0), address, integer(value.at.0), json(value)?, age])?;
    }
    Ok(())
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without this setting, SQLite writes temporary files for a large batch in a directory that the confined
    /// daemon cannot write. The history of 10,000 new machines a second was then not stored.
    #[test]
    fn no_temporary_file_is_needed() {
        let directory = tempfile::tempdir().unwrap();
        let (database, _) = Database::open(directory.path(), UnixMs(1), Duration::from_secs(1)).unwrap();
        let kept: u32 = database.connection.pragma_query_value(None, "temp_store", |row| row.get(0)).unwrap();
        assert_eq!(kept, 2, "in memory");
    }
}
