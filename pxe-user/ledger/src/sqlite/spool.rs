//! The spool: batches that the shared database has not taken yet, in the same file as the rows. A batch is written and spooled
//! in one transaction, so it is in both or in neither, and it costs one commit.
//!
//! Its tables exist only where a shared database is configured. The spool has a name of its own, made with it. The database
//! notes the name and the number of the last batch, so it recognizes a batch that comes again. After a restored backup or a
//! lost directory, [`Database::adopt`] gives the batches that wait numbers that the database has not seen.
//!
//! The size is bounded. A full spool drops its oldest batches and counts them. The rows themselves stay here.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::retention::integer;
use super::{Database, DatabaseError, others};
use crate::rows::{Known, NumberedRows, Rows};

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS spool (sequence INTEGER PRIMARY KEY, version INTEGER NOT NULL, json TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS spool_state (id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL, next INTEGER NOT NULL,
        clock INTEGER NOT NULL);
";
/// Batches that are read or deleted at once.
const AT_ONCE: i64 = 64;

/// Most rows of one batch. 29,000 rows took a second in a measurement, and an operation has some seconds.
const ROWS_OF_ONE: usize = 2000;

/// How much waits in the spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Number of batches.
    pub batches: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Batches that were dropped since the start, because the spool was full.
    pub dropped: u64,
    /// Batches that were dropped since the start, because they cannot be read, or the database can never take them.
    pub refused: u64,
}

/// What the connection's owner knows of the spool, as of the last commit.
#[derive(Clone, Debug)]
pub(super) struct Spool {
    name: String,
    /// The number of the next batch.
    next: u64,
    /// The greatest version that this responder has given to a machine, or has seen.
    clock: u64,
    waiting: Waiting,
    bytes_max: u64,
    /// The last batch that is being sent. It is not dropped.
    sending: u64,
    /// Number of machines of other responders. To count them would read all of them.
    pub(super) others: u64,
}

impl Database {
    /// Spools each batch from now on. `name` is the name of a new spool.
    ///
    /// # Errors
    /// Why the spool cannot be used.
    pub fn open_spool(&mut self, bytes_max: u64, name: &str) -> Result<(), DatabaseError> {
        let opened = open(&mut self.connection, bytes_max, name);
        self.spool = Some(opened.map_err(|error| DatabaseError::of(&self.path, &error))?);
        Ok(())
    }

    /// How much waits.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        self.spool.as_ref().map(|spool| spool.waiting).unwrap_or_default()
    }

    /// The version of the machines in the batch that was spooled last, or a greater one that another responder gave since. 0
    /// without a spool.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.spool.as_ref().map_or(0, Spool::version)
    }

    /// The spool's name. Empty if there is none.
    #[must_use]
    pub fn spool_name(&self) -> &str {
        self.spool.as_ref().map_or("", |spool| &spool.name)
    }

    /// Returns the oldest batches, of about `bytes` at most, but at least one if any waits. They stay until they are confirmed.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn take(&mut self, bytes: u64) -> Result<Vec<NumberedRows>, DatabaseError> {
        let Some(spool) = &mut self.spool else { return Ok(Vec::new()) };
        let read = oldest(&self.connection, bytes).map_err(|error| DatabaseError::of(&self.path, &error))?;
        spool.sending = read.last().map_or(0, |(sequence, ..)| *sequence);
        let mut batches = Vec::with_capacity(read.len());
        let mut unreadable = Vec::new();
        for (sequence, version, json) in read {
            match serde_json::from_str(&json) {
                Ok(rows) => batches.push(NumberedRows { sequence, version, rows }),
                // A later pxed wrote it.
                Err(_) => unreadable.push(sequence),
            }
        }
        unreadable.into_iter().try_for_each(|sequence| self.drop_batch(sequence))?;
        Ok(batches)
    }

    /// The batches that were taken last are no longer being sent, and wait as before.
    pub fn put_back(&mut self) {
        if let Some(spool) = &mut self.spool {
            spool.sending = 0;
        }
    }

    /// Deletes the batches that were taken last: the database has them. Returns the number of the last one, if there are any.
    ///
    /// # Errors
    /// Why they are still there. They are then sent again, which changes nothing.
    pub fn confirm(&mut self) -> Result<Option<u64>, DatabaseError> {
        let Some(spool) = self.spool.as_mut().filter(|spool| spool.sending > 0) else { return Ok(None) };
        let last = std::mem::take(&mut spool.sending);
        let done = self.connection.execute("DELETE FROM spool WHERE sequence <= ?1", [integer(last)]);
        let counted = done.and_then(|_| spool.count(&self.connection));
        counted.map(|()| Some(last)).map_err(|error| DatabaseError::of(&self.path, &error))
    }

    /// Deletes one batch that the database can never take, and counts it as refused.
    ///
    /// # Errors
    /// Why it is still there.
    pub fn drop_batch(&mut self, sequence: u64) -> Result<(), DatabaseError> {
        let Some(spool) = &mut self.spool else { return Ok(()) };
        let done = self.connection.execute("DELETE FROM spool WHERE sequence = ?1", [integer(sequence)]);
        done.and_then(|_| spool.count(&self.connection))
            .map_err(|error| DatabaseError::of(&self.path, &error))?;
        spool.waiting.refused += 1;
        Ok(())
    }

    /// Compares the spool with what the database knows. If the database has numbers of another spool under this responder's
    /// name, or numbers that this spool has not given yet, the batches that wait get greater numbers.
    ///
    /// # Errors
    /// Why they could not be changed.
    pub fn adopt(&mut self, known: &Known) -> Result<(), DatabaseError> {
        let Some(spool) = &mut self.spool else { return Ok(()) };
        spool.sending = 0;
        let mut new = Spool { clock: spool.clock.max(known.clock), ..spool.clone() };
        let is_foreign = new.name != known.spool || new.next <= known.sequence;
        let done = (|| {
            let transaction = self.connection.transaction()?;
            if is_foreign && known.sequence > 0 {
                let by = known.sequence;
                // In two steps, because each row's new number may be another one's old number.
                transaction.execute("UPDATE spool SET sequence = -sequence - ?1", [integer(by)])?;
                transaction.execute("UPDATE spool SET sequence = -sequence", [])?;
                new.next = new.next.saturating_add(by);
            }
            new.save(&transaction)?;
            transaction.commit()
        })();
        done.map_err(|error| DatabaseError::of(&self.path, &error))?;
        *spool = new;
        Ok(())
    }
}

impl Spool {
    /// The greatest version that this responder has given or seen.
    pub(super) fn version(&self) -> u64 {
        self.clock
    }

    /// Another responder has given this version.
    pub(super) fn observe(&mut self, version: u64) {
        self.clock = self.clock.max(version);
    }

    /// Spools rows, in batches of [`ROWS_OF_ONE`] at most: the database must take each of them within its time limit. All of
    /// them have one version. The caller keeps the result if the transaction is committed.
    pub(super) fn append(&self, transaction: &Transaction<'_>, rows: &Rows) -> rusqlite::Result<Self> {
        if rows.len() == 0 {
            return Ok(self.clone());
        }
        // Greater than all versions seen, and not behind those of a responder that wrote while this one was cut off.
        let spool = Self { clock: self.clock.saturating_add(1).max(rows.now), ..self.clone() };
        if rows.len() <= ROWS_OF_ONE {
            return spool.append_one(transaction, rows);
        }
        rows.pieces(ROWS_OF_ONE).iter().try_fold(spool, |spool, piece| spool.append_one(transaction, piece))
    }

    fn append_one(&self, transaction: &Transaction<'_>, rows: &Rows) -> rusqlite::Result<Self> {
        let mut new = self.clone();
        let to_sql = |error: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(error.into());
        let json = serde_json::to_string(rows).map_err(to_sql)?;
        let values = params![integer(new.next), integer(new.clock), json];
        transaction.execute("INSERT INTO spool VALUES (?1, ?2, ?3)", values)?;
        new.next += 1;
        new.waiting.batches += 1;
        new.waiting.bytes += json.len() as u64;
        while new.waiting.bytes > new.bytes_max && new.drop_oldest(transaction)? {}
        new.save(transaction)?;
        Ok(new)
    }

    /// Drops the oldest batches that are not being sent, but never the newest one. Returns false if there is none to drop.
    fn drop_oldest(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
        let sql = "SELECT sequence, octet_length(json) FROM spool WHERE sequence > ?1 AND sequence < ?2 \
                   ORDER BY sequence LIMIT ?3";
        let mut statement = transaction.prepare(sql)?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        let values = params![integer(self.sending), integer(self.next - 1), AT_ONCE];
        let found = statement.query_map(values, row)?.collect::<rusqlite::Result<Vec<_>>>()?;
        let mut surplus = self.waiting.bytes.saturating_sub(self.bytes_max);
        for (sequence, bytes) in &found {
            if surplus == 0 {
                break;
            }
            transaction.execute("DELETE FROM spool WHERE sequence = ?1", [sequence])?;
            let bytes = bytes.unsigned_abs();
            surplus = surplus.saturating_sub(bytes);
            self.waiting.bytes = self.waiting.bytes.saturating_sub(bytes);
            self.waiting.batches = self.waiting.batches.saturating_sub(1);
            self.waiting.dropped += 1;
        }
        Ok(!found.is_empty())
    }

    pub(super) fn save(&self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO spool_state VALUES (1, ?1, ?2, ?3)";
        connection.execute(sql, params![self.name, integer(self.next), integer(self.clock)]).map(drop)
    }

    /// Counts anew what waits.
    fn count(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = "SELECT count(*), coalesce(sum(octet_length(json)), 0) FROM spool";
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        let (batches, bytes) = connection.query_row(sql, [], row)?;
        self.waiting.batches = batches.unsigned_abs();
        self.waiting.bytes = bytes.unsigned_abs();
        Ok(())
    }
}

fn open(connection: &mut Connection, bytes_max: u64, name: &str) -> rusqlite::Result<Spool> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.execute_batch(others::TABLES)?;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    let saved = transaction.query_row("SELECT name, next, clock FROM spool_state", [], row).optional()?;
    let (name, next, clock) = saved.unwrap_or((name.to_owned(), 1, 0));
    let (next, clock) = (next.unsigned_abs(), clock.unsigned_abs());
    let mut spool =
        Spool { name, next, clock, waiting: Waiting::default(), bytes_max, sending: 0, others: 0 };
    spool.others = others::count(&transaction)?;
    spool.save(&transaction)?;
    spool.count(&transaction)?;
    transaction.commit()?;
    Ok(spool)
}

/// Number, version and JSON of the oldest batches.
fn oldest(connection: &Connection, bytes: u64) -> rusqlite::Result<Vec<(u64, u64, String)>> {
    let mut statement =
        connection.prepare("SELECT sequence, version, json FROM spool ORDER BY sequence LIMIT ?1")?;
    let mut rows = statement.query([AT_ONCE])?;
    let (mut read, mut size) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let json: String = row.get(2)?;
        size += json.len() as u64;
        if size > bytes && !read.is_empty() {
            break;
        }
        read.push((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs(), json));
    }
    Ok(read)
}

#[cfg(test)]
mod tests;
