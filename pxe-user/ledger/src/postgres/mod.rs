//! [`Postgres`]: the ledger in a PostgreSQL database, which several responders share.
//!
//! | file | contents |
//! |---|---|
//! | `url` | where the database is, as the configuration names it |
//! | `target` | files and addresses that a connection needs; made before the confinement |
//! | `tls` | TLS by rustls |
//! | `schema` | tables and migrations |
//! | `write` | the statements of a batch |
//! | `notices` | how a responder learns at once that another one has written |
//! | `news` | what other responders wrote since the last look |
//! | `read` | what a responder, a check or a test reads back |
//! | `retention` | age and deletion of old rows |
//! | `members` | the responders that share a segment; a connection of its own |
//! | `error` | why the database takes nothing, with the remedy |
//!
//! Calls block, each for [`OPERATION_MAX`] at most (a connection for [`CONNECTING_MAX`]), so only a thread that nothing waits
//! for may use this. After an error, drop the value and connect again.
//!
//! Each responder has a row in `responders`, with a lease. A batch is written in one transaction that first locks this row:
//! batches of one responder are committed in the order of their numbers, a number that is already there is skipped, and a
//! process that has lost its name writes nothing.

mod error;
mod members;
mod news;
mod notices;
mod read;
mod retention;
mod schema;
mod target;
mod tls;
mod url;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_postgres::{Client, Row};

use crate::rows::{Known, NumberedRows, Status};
pub use error::PostgresError;
pub use members::{LEASE, MemberLease, MemberRow, Members, members};
pub use news::Marks;
use news::Questions;
use notices::Looks;
pub use notices::Woken;
pub use read::{Probe, probe};
pub use target::{Target, TargetError};
pub use url::{Protection, Server, Url, UrlError};
use write::Statements;

/// The time limit for one operation. The server itself cancels a statement a little earlier.
pub const OPERATION_MAX: Duration = Duration::from_secs(6);
/// The time limit for a connection, over all servers of the URL.
pub const CONNECTING_MAX: Duration = Duration::from_secs(10);
/// How often a responder must renew its lease. It lasts for three times as long.
pub const LEASE_EVERY: Duration = Duration::from_secs(3);
/// A statement's limit on the server, and for how long a lease lasts there. Names are looked up in pxed's schema only.
const SESSION: &str = "SET statement_timeout = '5s'; SET lock_timeout = '4s'; \
    SET idle_in_transaction_session_timeout = '10s'; SET search_path = pxed";

/// Who writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The responder's name, unique in the ledger.
    pub responder: String,
    /// Differs between processes.
    pub instance: String,
    /// The host's name, for messages.
    pub host: String,
}

/// A connection of a responder that holds the lease of its name.
pub struct Postgres {
    runtime: Runtime,
    client: Client,
    statements: Statements,
    questions: Questions,
    /// Another responder has written.
    notices: Arc<Notify>,
    /// When what others wrote is read.
    looks: Looks,
    /// When the lease must be renewed.
    lease_due: Instant,
    writer: Writer,
    at: String,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("at", &self.at).field("writer", &self.writer).finish_non_exhaustive()
    }
}

impl Postgres {
    /// Connects, migrates the schema, and takes the lease of the responder's name.
    ///
    /// # Errors
    /// Why the database cannot be used.
    pub fn connect(target: &Target, writer: Writer) -> Result<(Self, Known), PostgresError> {
        let at = target.url.to_string();
        let runtime = runtime()?;
        let opened = limited(&runtime, &at, CONNECTING_MAX, async {
            let (mut client, notices) = connect(target, &at, &writer.responder).await?;
            schema::migrate(&mut client, &at).await?;
            let failed = |error| PostgresError::of(&at, &error);
            let known = claim(&client, &writer).await.map_err(failed)?;
            let Some(known) = known else {
                return Err(taken(&client, &writer).await.unwrap_or_else(failed));
            };
            let statements = Statements::prepare(&client).await.map_err(failed)?;
            let questions = Questions::prepare(&client).await.map_err(failed)?;
            client.batch_execute(notices::LISTEN).await.map_err(failed)?;
            Ok((client, statements, questions, notices, known))
        });
        let (client, statements, questions, notices, known) = opened?;
        let now = Instant::now();
        let (lease_due, looks) = (now + LEASE_EVERY, Looks::new(now));
        Ok((Self { runtime, client, statements, questions, notices, looks, lease_due, writer, at }, known))
    }

    /// Writes batches, all of them or none, in one transaction. Skips those that the ledger has already.
    ///
    /// # Errors
    /// Why nothing was written, as far as the client knows: if the connection ended during the commit, it may be.
    pub fn write(&mut self, spool: &str, batches: &[NumberedRows]) -> Result<(), PostgresError> {
        let Self { runtime, client, statements, writer, at, .. } = self;
        limited(runtime, at, OPERATION_MAX, async {
            let failed = |error| PostgresError::of(at, &error);
            let transaction = client.transaction().await.map_err(failed)?;
            let row = transaction.query_opt(&statements.lock, &[&writer.responder, &writer.instance]).await;
            let Some(row) = row.map_err(failed)? else {
                drop(transaction);
                return Err(taken(client, writer).await.unwrap_or_else(failed));
            };
            let last = if row.get::<_, &str>(0) == spool { row.get(1) } else { 0 };
            let new: Vec<_> = batches.iter().filter(|batch| write::number(batch.sequence) > last).collect();
            for batch in &new {
                statements.write(&transaction, &writer.responder, batch).await.map_err(failed)?;
            }
            if let Some(last) = new.last() {
                let (sequence, clock) = (write::number(last.sequence), write::number(last.version));
                let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
                    [&writer.responder, &spool, &sequence, &clock];
                transaction.execute(&statements.note, &values).await.map_err(failed)?;
                transaction.execute(&statements.notify, &[&writer.responder]).await.map_err(failed)?;
            }
            transaction.commit().await.map_err(failed)
        })
    }

    /// Renews the lease, writes what the responder says of itself, and returns the greatest version of any machine.
    ///
    /// # Errors
    /// Why the lease is not renewed.
    pub fn renew(&mut self, status: &Status) -> Result<u64, PostgresError> {
        let Self { runtime, client, writer, lease_due, at, .. } = self;
        *lease_due = Instant::now() + LEASE_EVERY;
        limited(runtime, at, OPERATION_MAX, async {
            let failed = |error| PostgresError::of(at, &error);
            let sql = "UPDATE responders SET leased = now(), pxed = $3, segment = $4, rules = $5, waiting = $6 \
                       WHERE name = $1 AND instance = $2 RETURNING (SELECT max(clock) FROM responders)";
            let waiting = write::number(status.waiting);
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
                [&writer.responder, &writer.instance, &status.pxed, &status.segment, &status.rules, &waiting];
            let row = client.query_opt(sql, &values).await.map_err(failed)?;
            match row {
                Some(row) => Ok(unsigned(&row, 0)),
                None => Err(taken(client, writer).await.unwrap_or_else(failed)),
            }
        })
    }

    /// Gives the lease up, so that another process can have the name at once.
    ///
    /// # Errors
    /// Why it could not. It then ends by itself.
    pub fn release(&mut self) -> Result<(), PostgresError> {
        let sql = "UPDATE responders SET leased = '-infinity' WHERE name = $1 AND instance = $2";
        let Self { runtime, client, writer, at, .. } = self;
        limited(runtime, at, OPERATION_MAX, async {
            let done = client.execute(sql, &[&writer.responder, &writer.instance]).await;
            done.map(drop).map_err(|error| PostgresError::of(at, &error))
        })
    }
}

/// Runs one operation within a time limit.
fn limited<T>(
    runtime: &Runtime,
    at: &str,
    limit: Duration,
    operation: impl Future<Output = Result<T, PostgresError>>,
) -> Result<T, PostgresError> {
    let done = runtime.block_on(async { tokio::time::timeout(limit, operation).await });
    done.unwrap_or_else(|_| Err(PostgresError::Slow { at: at.to_owned(), after: limit }))
}

/// A runtime on the caller's thread. The connection's task makes progress during operations only.
fn runtime() -> Result<Runtime, PostgresError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| PostgresError::Other(error.to_string()))
}

/// Connects. The second value wakes when another responder than `own` has written.
async fn connect(target: &Target, at: &str, own: &str) -> Result<(Client, Arc<Notify>), PostgresError> {
    let failed = |error| PostgresError::of(at, &error);
    let (client, connection) = target.config.connect(target.tls.clone()).await.map_err(failed)?;
    let notices = Arc::<Notify>::default();
    let (own, noticed) = (own.to_owned(), Arc::clone(&notices));
    tokio::spawn(async move {
        let wake = |writer: &str| {
            if writer != own {
                noticed.notify_one();
            }
        };
        notices::drive(connection, wake).await;
        noticed.notify_one();
    });
    open_session(&client, at).await?;
    Ok((client, notices))
}

/// Sets a new connection up.
async fn open_session(client: &Client, at: &str) -> Result<(), PostgresError> {
    let failed = |error| PostgresError::of(at, &error);
    client.batch_execute(SESSION).await.map_err(failed)?;
    let row = client.query_one("SHOW server_encoding", &[]).await.map_err(failed)?;
    match row.get::<_, String>(0) {
        encoding if encoding == "UTF8" => Ok(()),
        encoding => Err(PostgresError::Encoding(encoding)),
    }
}

/// Takes the lease of the responder's name. Returns `None` if another process holds it.
async fn claim(client: &Client, writer: &Writer) -> Result<Option<Known>, tokio_postgres::Error> {
    let sql = "INSERT INTO responders (name, instance, host, leased) VALUES ($1, $2, $3, now()) \
               ON CONFLICT (name) DO UPDATE SET instance = excluded.instance, host = excluded.host, leased = now() \
               WHERE responders.instance = excluded.instance OR responders.leased < now() - interval '9 s' \
               RETURNING spool, sequence, (SELECT coalesce(max(clock), 0) FROM responders)";
    let row = client.query_opt(sql, &[&writer.responder, &writer.instance, &writer.host]).await?;
    let known = |row: Row| Known { spool: row.get(0), sequence: unsigned(&row, 1), clock: unsigned(&row, 2) };
    Ok(row.map(known))
}

/// The error that names the process with this responder's name.
async fn taken(client: &Client, writer: &Writer) -> Result<PostgresError, tokio_postgres::Error> {
    let row = client.query_opt("SELECT host FROM responders WHERE name = $1", &[&writer.responder]).await?;
    let host = row.map_or_else(|| "an unknown host".to_owned(), |row| row.get(0));
    Ok(PostgresError::NameTaken { name: writer.responder.clone(), host })
}

/// A number of a row that is never negative.
fn unsigned(row: &Row, column: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(column)).unwrap_or_default()
}
