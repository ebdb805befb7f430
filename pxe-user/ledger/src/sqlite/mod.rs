//! [`Database`]: SQLite. Opens and migrates the database, writes batches, and reads the history.
//!
//! Each batch is one transaction. With WAL and `synchronous = NORMAL`, committed data survives any end of this process.
//! A power failure may lose the last moments before it, but does not damage the database
//! (<https://www.sqlite.org/pragma.html#pragma_synchronous>).

mod export;
mod others;
mod retention;
mod spool;

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Statement, Transaction, params};
use rustix::fs::{FlockOperation, flock};

use crate::rows::{BootRow, ErrorRow, History, Loaded, LoadedMachine, MachineRow, Rows, StepRow};
pub use others::OTHERS_MAX;
use pxe_proto::time::Timestamp;
use retention::{LedgerClock, integer};
use spool::Spool;
pub use spool::Waiting;

const FILE: &str = "pxed.db";
const LOCK: &str = "pxed.lock";
/// How long to wait while another program holds the database, such as `sqlite3` while it reads.
const BUSY: Duration = Duration::from_secs(1);
/// Steps that are read at the start.
const STEPS_READ: i64 = 4096;
/// Boots of each machine that are read at the start.
const BOOTS_READ: i64 = 32;
/// Maximum number of steps, and of boots, in the history of one machine.
const STORY_STEPS: i64 = 500;
const STORY_BOOTS: i64 = 256;

/// The migrations. The one with index n leads from `user_version` n to n + 1.
const MIGRATIONS: &[&str] = &["
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
pub enum DatabaseError {
    /// Another process holds the directory's lock.
    #[error("another pxed uses {0}: stop it, or give this one another directory")]
    Taken(PathBuf),
    /// The disk is full.
    #[error("the disk of {0} is full: free some space")]
    Full(PathBuf),
    /// Another program holds a lock of SQLite for longer than [`BUSY`].
    #[error("another program has locked {0}: end it")]
    Locked(PathBuf),
    /// The file or its directory cannot be written.
    #[error(
        "{path} cannot be written ({reason}): check its owner, its permissions, and whether its file system is read-only"
    )]
    Unwritable {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The file is no database, or is damaged.
    #[error("{path} is damaged ({reason})")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's reason.
        reason: String,
    },
    /// The schema is newer than this program.
    #[error("{0} was written by a newer pxed: run that version, or use another directory")]
    Newer(PathBuf),
    /// Any other error of SQLite.
    #[error("{path}: {reason}")]
    Other {
        /// The file.
        path: PathBuf,
        /// SQLite's reason.
        reason: String,
    },
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
pub struct Database {
    connection: Connection,
    path: PathBuf,
    clock: LedgerClock,
    /// Batches for a shared database. `None` if there is none.
    spool: Option<Spool>,
    /// When old rows were last deleted, on the monotonic clock.
    tidied: Option<Timestamp>,
    _lock: File,
}

impl Database {
    /// Opens the database in a directory. Moves a damaged one away, and creates a new one.
    ///
    /// # Errors
    /// Why nothing is stored there.
    pub fn open(directory: &Path, now: u64, retention: Duration) -> Result<(Self, Loaded), DatabaseError> {
        let lock = lock(directory)?;
        match Self::open_locked(directory, lock, now, retention) {
            Err(DatabaseError::Damaged { .. }) => Self::replace(directory, now, retention),
            other => other,
        }
    }

    /// Moves a damaged database away, and creates a new one. Takes the directory's lock, so the caller must
    /// have released it.
    ///
    /// # Errors
    /// Why nothing is stored there.
    pub fn replace(directory: &Path, now: u64, retention: Duration) -> Result<(Self, Loaded), DatabaseError> {
        let lock = lock(directory)?;
        let aside = format!("{FILE}.damaged-{}", now / 1000);
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
        now: u64,
        retention: Duration,
    ) -> Result<(Self, Loaded), DatabaseError> {
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
        let opened = Loaded { absence, ..load(&connection).map_err(sqlite)? };
        Ok((Self { connection, path, clock, spool: None, tidied: None, _lock: lock }, opened))
    }

    /// Writes a batch: all of it, or nothing.
    ///
    /// # Errors
    /// Why nothing was written.
    pub fn write(&mut self, batch: &Rows, retention: Duration) -> Result<(), DatabaseError> {
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
        let spool = self.spool.as_ref().map(|spool| spool.append(&transaction, batch));
        let mut spool = spool.transpose().map_err(sqlite)?;
        if let Some(spool) = &mut spool {
            let taken_over = others::written(&transaction, batch, spool.version()).map_err(sqlite)?;
            spool.others = spool.others.saturating_sub(taken_over);
        }
        transaction.commit().map_err(sqlite)?;
        self.spool = spool;
        if tidy {
            self.tidied = Some(batch.monotonic);
        }
        Ok(())
    }

    /// Reads the latest boots and steps of a machine.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn history(&self, mac: &str) -> Result<History, DatabaseError> {
        let sql = "SELECT json FROM boots WHERE mac = ?1 ORDER BY at DESC LIMIT ?2";
        let boots = self.texts(sql, params![mac, STORY_BOOTS])?;
        let sql = "SELECT json FROM steps WHERE mac = ?1 ORDER BY id DESC LIMIT ?2";
        let steps = self.texts(sql, params![mac, STORY_STEPS])?;
        Ok(History { boots, steps })
    }

    /// Reads the JSON of the steps after number `after`, oldest first.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn steps(&self, after: u64, most: usize) -> Result<Vec<String>, DatabaseError> {
        let sql = "SELECT json FROM steps WHERE id > ?1 ORDER BY id LIMIT ?2";
        self.texts(sql, params![integer(after), i64::try_from(most).unwrap_or(i64::MAX)])
    }

    /// Runs a query for one column of texts.
    fn texts(&self, sql: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<String>, DatabaseError> {
        let statement = self.connection.prepare(sql);
        let read = statement.and_then(|mut statement| texts(&mut statement, values));
        read.map_err(|error| DatabaseError::of(&self.path, &error))
    }
}

/// The first column of a query's rows.
fn texts(statement: &mut Statement<'_>, values: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<Vec<String>> {
    statement.query_map(values, |row| row.get(0))?.collect()
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

fn load(connection: &Connection) -> rusqlite::Result<Loaded> {
    let mut statement = connection.prepare("SELECT mac, json FROM machines")?;
    let rows = statement.query_map([], |row| Ok(MachineRow { mac: row.get(0)?, json: row.get(1)? }))?;
    let mut latest = connection.prepare("SELECT json FROM boots WHERE mac = ?1 ORDER BY at DESC LIMIT ?2")?;
    let mut machines = Vec::new();
    for row in rows {
        let row = row?;
        let boots = texts(&mut latest, params![row.mac, BOOTS_READ])?;
        machines.push(LoadedMachine { row, boots });
    }
    let mut latest = connection.prepare("SELECT json FROM steps ORDER BY id DESC LIMIT ?1")?;
    let mut steps = texts(&mut latest, params![STEPS_READ])?;
    steps.reverse();
    let last: Option<i64> =
        connection.query_row("SELECT max(id) FROM steps", [], |row| row.get(0)).optional()?.flatten();
    let last_step = last.and_then(|last| u64::try_from(last).ok()).unwrap_or_default();
    Ok(Loaded { machines, steps, last_step, ..Loaded::default() })
}

/// Writes a batch's rows. `age` is the database's age now, in milliseconds.
fn insert(transaction: &Transaction<'_>, batch: &Rows, age: i64) -> rusqlite::Result<()> {
    let mut forget = transaction.prepare("DELETE FROM machines WHERE mac = ?1")?;
    let mut forget_boots = transaction.prepare("DELETE FROM boots WHERE mac = ?1")?;
    for mac in &batch.forgotten {
        forget.execute([mac])?;
        forget_boots.execute([mac])?;
    }
    let mut machine = transaction.prepare("INSERT OR REPLACE INTO machines VALUES (?1, ?2)")?;
    for MachineRow { mac, json } in &batch.machines {
        machine.execute([mac, json])?;
    }
    let mut boot = transaction.prepare("INSERT OR REPLACE INTO boots VALUES (?1, ?2, ?3, ?4)")?;
    for BootRow { mac, at, json } in &batch.boots {
        boot.execute(params![mac, integer(*at), json, age])?;
    }
    let mut step = transaction.prepare("INSERT OR REPLACE INTO steps VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for StepRow { id, at, mac, json } in &batch.steps {
        step.execute(params![integer(*id), integer(*at), mac, json, age])?;
    }
    let sql = "INSERT OR REPLACE INTO errors VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut error = transaction.prepare(sql)?;
    for ErrorRow { mac, test, address, at, json } in &batch.errors {
        error.execute(params![mac, integer(*test), address, integer(*at), json, age])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without this setting, SQLite writes temporary files for a large batch in a directory that the confined
    /// daemon cannot write. The history of 10,000 new machines a second was then not stored.
    #[test]
    fn no_temporary_file_is_needed() {
        let directory = tempfile::tempdir().unwrap();
        let (database, _) = Database::open(directory.path(), 1, Duration::from_secs(1)).unwrap();
        let kept: u32 = database.connection.pragma_query_value(None, "temp_store", |row| row.get(0)).unwrap();
        assert_eq!(kept, 2, "in memory");
    }
}
