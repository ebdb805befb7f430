//! [`Members`]: the rows of responders that share a segment, each with a lease.
//!
//! A connection of its own, so that no batch of history delays a lease. A responder that comes, changes its weight or
//! leaves notifies the others, which then read at once. If notifications get lost (a pooler between), they read at their
//! next renewal. As for [`Postgres`](super::Postgres), calls block, and after an error the value is of no use.
//!
//! The rows do not say who owns which machines. All times are by the server's clock.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::{Client, Row};

use super::notices::drive;
use super::{CONNECTING_MAX, OPERATION_MAX, PostgresError, Target};
use super::{connect, limited, open_session, runtime, schema};

/// How long a lease lasts: three times as long as the time between two renewals.
pub const LEASE: Duration = super::LEASE_EVERY.saturating_mul(3);

/// `known` is when the responder was first seen, `since` the beginning of a time in which its lease never ended.
pub(super) const MIGRATION: &str = "
    CREATE TABLE members (responder TEXT PRIMARY KEY, segment TEXT NOT NULL, weight INT NOT NULL, host TEXT NOT NULL,
        known TIMESTAMPTZ NOT NULL, since TIMESTAMPTZ NOT NULL, renewed TIMESTAMPTZ NOT NULL, has_left BOOLEAN NOT NULL);
    CREATE INDEX members_segment ON members (segment);
";
const LISTEN: &str = "LISTEN pxed_members";
const NOTIFY: &str = "NOTIFY pxed_members";
/// Members that have not been alive for a day are forgotten.
const FORGET: &str = "DELETE FROM members WHERE renewed < now() - interval '1 day'";
/// A lease in the future was written before the server's clock was set back, so it counts as ended.
const RENEW: &str = "INSERT INTO members AS m (responder, segment, weight, host, known, since, renewed, has_left) \
    VALUES ($1, $2, $3, $4, now(), now(), now(), false) \
    ON CONFLICT (responder) DO UPDATE SET segment = excluded.segment, weight = excluded.weight, host = excluded.host, \
    renewed = now(), has_left = false, \
    known = CASE WHEN m.segment = excluded.segment THEN least(m.known, now()) ELSE now() END, \
    since = CASE WHEN m.segment = excluded.segment AND NOT m.has_left AND m.renewed >= now() - interval '9 s' \
    THEN least(m.since, now()) ELSE now() END";
const LEAVE: &str = "UPDATE members SET has_left = true WHERE responder = $1";
const READ: &str = "SELECT responder, weight, host, has_left, (extract(epoch FROM now() - known) * 1000)::bigint, \
    (extract(epoch FROM now() - since) * 1000)::bigint, (extract(epoch FROM now() - renewed) * 1000)::bigint \
    FROM pxed.members WHERE segment = $1 AND renewed > now() - interval '1 day' ORDER BY responder";
/// How far a renewal may seem to be in the future, because it was written while this transaction began.
const AHEAD_MAX: Duration = Duration::from_secs(1);

/// What a responder writes of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberLease {
    /// The responder's name, unique in the ledger.
    pub responder: String,
    /// The segment's name.
    pub segment: String,
    /// Its weight.
    pub weight: u32,
    /// The host's name, for messages.
    pub host: String,
}

/// A responder of a segment at the time of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRow {
    /// The responder's name.
    pub responder: String,
    /// Its weight.
    pub weight: u32,
    /// Its host's name.
    pub host: String,
    /// It has left in order.
    pub has_left: bool,
    /// For how long the ledger has known it.
    pub known: Duration,
    /// For how long its lease has been renewed without a gap.
    pub alive: Duration,
    /// The rest of its lease. Zero if it has ended.
    pub lease: Duration,
}

/// A connection that renews the lease of one responder, and reads those of the others.
pub struct Members {
    runtime: Runtime,
    client: Client,
    /// One message for each notification. It ends with the connection.
    notices: UnboundedReceiver<()>,
    at: String,
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Members {
    /// Connects, migrates the schema, and listens for notifications.
    ///
    /// # Errors
    /// Why the database cannot be used.
    pub fn connect(target: &Target) -> Result<Self, PostgresError> {
        let at = target.url.to_string();
        let runtime = runtime()?;
        let opened = limited(&runtime, &at, CONNECTING_MAX, async {
            let failed = |error| PostgresError::of(&at, &error);
            let connected = target.config.connect(target.tls.clone()).await;
            let (mut client, connection) = connected.map_err(failed)?;
            let (noticed, notices) = unbounded_channel();
            tokio::spawn(drive(connection, move |_| {
                // Nobody receives it if the value was dropped, and then the connection ends.
                let _ = noticed.send(());
            }));
            open_session(&client, &at).await?;
            schema::migrate(&mut client, &at).await?;
            client.batch_execute(FORGET).await.map_err(failed)?;
            client.batch_execute(LISTEN).await.map_err(failed)?;
            Ok((client, notices))
        });
        let (client, notices) = opened?;
        Ok(Self { runtime, client, notices, at })
    }

    /// Renews a lease, then reads all members of its segment.
    ///
    /// # Errors
    /// Why it could not.
    pub fn renew(&mut self, lease: &MemberLease) -> Result<Vec<MemberRow>, PostgresError> {
        // What these say is in the read that follows.
        while self.notices.try_recv().is_ok() {}
        let Self { runtime, client, at, .. } = self;
        let MemberLease { responder, segment, weight, host } = lease;
        let weight = i32::try_from(*weight).unwrap_or(i32::MAX);
        limited(runtime, at, OPERATION_MAX, async {
            let failed = |error| PostgresError::of(at, &error);
            client.execute(RENEW, &[responder, segment, &weight, host]).await.map_err(failed)?;
            read(client, segment).await.map_err(failed)
        })
    }

    /// Reads all members of a segment.
    ///
    /// # Errors
    /// Why it could not.
    pub fn read(&mut self, segment: &str) -> Result<Vec<MemberRow>, PostgresError> {
        let Self { runtime, client, at, .. } = self;
        limited(runtime, at, OPERATION_MAX, async {
            read(client, segment).await.map_err(|error| PostgresError::of(at, &error))
        })
    }

    /// Has all other members read at once.
    ///
    /// # Errors
    /// Why it could not.
    pub fn notify(&mut self) -> Result<(), PostgresError> {
        let Self { runtime, client, at, .. } = self;
        limited(runtime, at, OPERATION_MAX, async {
            client.batch_execute(NOTIFY).await.map_err(|error| PostgresError::of(at, &error))
        })
    }

    /// Notes that a responder has left. The others read it at once after [`notify`](Self::notify).
    ///
    /// # Errors
    /// Why it could not. Its lease then ends by itself.
    pub fn leave(&mut self, responder: &str) -> Result<(), PostgresError> {
        let Self { runtime, client, at, .. } = self;
        limited(runtime, at, OPERATION_MAX, async {
            let failed = |error| PostgresError::of(at, &error);
            client.execute(LEAVE, &[&responder]).await.map(drop).map_err(failed)
        })
    }

    /// Waits for a notification or for `other`, at most for a time. Returns the value of `other`, if that was it.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn wait<T>(
        &mut self,
        at_most: Duration,
        other: impl Future<Output = T>,
    ) -> Result<Option<T>, PostgresError> {
        let Self { runtime, notices, .. } = self;
        let waited = runtime.block_on(async {
            let mut other = pin!(other);
            let event = poll_fn(|context| match other.as_mut().poll(context) {
                std::task::Poll::Ready(value) => std::task::Poll::Ready(Ok(Some(value))),
                std::task::Poll::Pending => {
                    notices.poll_recv(context).map(|notice| notice.map(|()| None).ok_or(()))
                }
            });
            tokio::time::timeout(at_most, event).await.unwrap_or(Ok(None))
        });
        waited.map_err(|()| PostgresError::Other("the connection ended".into()))
    }
}

/// Reads all members of a segment, and changes nothing. There are none in an older schema.
///
/// # Errors
/// Why the database cannot be used.
pub fn members(target: &Target, segment: &str) -> Result<Vec<MemberRow>, PostgresError> {
    let at = target.url.to_string();
    limited(&runtime()?, &at, CONNECTING_MAX, async {
        let (client, _) = connect(target, &at, "").await?;
        let failed = |error| PostgresError::of(&at, &error);
        // The migration with index n leads to version n + 1.
        let made = schema::MIGRATIONS.iter().position(|migration| *migration == MIGRATION);
        let found = usize::try_from(schema::version(&client).await.map_err(failed)?).unwrap_or_default();
        if made.is_none_or(|made| found <= made) {
            return Ok(Vec::new());
        }
        read(&client, segment).await.map_err(failed)
    })
}

async fn read(client: &Client, segment: &str) -> Result<Vec<MemberRow>, tokio_postgres::Error> {
    Ok(client.query(READ, &[&segment]).await?.iter().map(member).collect())
}

fn member(row: &Row) -> MemberRow {
    let duration = |column| Duration::from_millis(row.get::<_, i64>(column).try_into().unwrap_or_default());
    let is_ahead = row.get::<_, i64>(6) < -i64::try_from(AHEAD_MAX.as_millis()).unwrap_or(i64::MAX);
    MemberRow {
        responder: row.get(0),
        weight: row.get::<_, i32>(1).try_into().unwrap_or_default(),
        host: row.get(2),
        has_left: row.get(3),
        known: duration(4),
        alive: duration(5),
        lease: if is_ahead { Duration::ZERO } else { LEASE.saturating_sub(duration(6)) },
    }
}
