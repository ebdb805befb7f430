//! What is read back from the database, and [`probe`]: a look that changes nothing.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::write::number;
use super::{CONNECTING_MAX, OPERATION_MAX, Postgres, PostgresError, Target};
use super::{connect, limited, runtime, schema, unsigned};
use crate::rows::{History, Loaded, LoadedMachine, MachineRow};

/// Boots of each machine, and boots and steps of one machine's history, as for SQLite.
const BOOTS_READ: i64 = 32;
const STORY_BOOTS: i64 = 256;
const STORY_STEPS: i64 = 500;

/// What a look at the database has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// PostgreSQL's version.
    pub server: String,
    /// The schema's version. 0 if there is none yet.
    pub schema: i32,
    /// The newest schema that this program knows.
    pub known: i32,
    /// The time for one statement.
    pub latency: Duration,
}

/// Connects, and looks at version, schema and latency. Changes nothing. `clock` is a monotonic clock.
///
/// # Errors
/// Why the database cannot be used.
pub fn probe(target: &Target, clock: impl Fn() -> Duration) -> Result<Probe, PostgresError> {
    let at = target.url.to_string();
    limited(&runtime()?, &at, CONNECTING_MAX, async {
        let (client, _) = connect(target, &at, "").await?;
        let failed = |error| PostgresError::of(&at, &error);
        let begin = clock();
        let server = client.query_one("SHOW server_version", &[]).await.map_err(failed)?.get(0);
        // Preparing and running it are two round trips.
        let latency = clock().saturating_sub(begin) / 2;
        let found = schema::version(&client).await.map_err(failed)?;
        if found > schema::VERSION {
            return Err(PostgresError::Newer { found, known: schema::VERSION });
        }
        Ok(Probe { server, schema: found, known: schema::VERSION, latency })
    })
}

impl Postgres {
    /// Reads all machines with their latest boots, and the latest steps of this responder.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn load(&mut self, steps: usize) -> Result<Loaded, PostgresError> {
        let sql = "SELECT mac, json::text, ARRAY(SELECT json::text FROM boots WHERE boots.mac = machines.mac \
                   ORDER BY at DESC LIMIT $1) FROM machines ORDER BY mac";
        let machines = self.query(sql, &[&BOOTS_READ])?;
        let sql = "SELECT json::text FROM steps WHERE responder = $1 ORDER BY id DESC LIMIT $2";
        let responder = self.writer.responder.clone();
        let mut latest = texts(&self.query(sql, &[&responder, &number(steps as u64)])?);
        latest.reverse();
        let sql = "SELECT coalesce(max(id), 0) FROM steps WHERE responder = $1";
        let last_step = self.query(sql, &[&responder])?.first().map_or(0, |row| unsigned(row, 0));
        let machine = |row: &Row| LoadedMachine {
            row: MachineRow { mac: row.get(0), json: row.get(1) },
            boots: row.get(2),
        };
        let machines = machines.iter().map(machine).collect();
        Ok(Loaded { machines, steps: latest, last_step, ..Loaded::default() })
    }

    /// Reads the latest boots and steps of a machine, whoever wrote them.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn history(&mut self, mac: &str) -> Result<History, PostgresError> {
        // Two responders may have written the same boot, if the machine went from one to the other.
        let sql = "SELECT json FROM (SELECT DISTINCT ON (at) at, boots.json::text AS json FROM boots \
                   LEFT JOIN machines USING (mac, responder) WHERE mac = $1 \
                   ORDER BY at DESC, machines.mac IS NOT NULL DESC LIMIT $2) AS latest ORDER BY at DESC";
        let boots = texts(&self.query(sql, &[&mac, &STORY_BOOTS])?);
        let sql = "SELECT json::text FROM steps WHERE mac = $1 ORDER BY at DESC, id DESC LIMIT $2";
        let steps = texts(&self.query(sql, &[&mac, &STORY_STEPS])?);
        Ok(History { boots, steps })
    }

    /// Reads the JSON of this responder's steps after number `after`, oldest first.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn steps(&mut self, after: u64, most: usize) -> Result<Vec<String>, PostgresError> {
        let sql = "SELECT json::text FROM steps WHERE responder = $1 AND id > $2 ORDER BY id LIMIT $3";
        let responder = self.writer.responder.clone();
        Ok(texts(&self.query(sql, &[&responder, &number(after), &number(most as u64)])?))
    }

    /// Reads how many boots of a machine count, by rule.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn counts(&mut self, mac: &str) -> Result<Vec<(String, u64)>, PostgresError> {
        let sql = "SELECT rule, sum(count)::bigint FROM counted LEFT JOIN epochs USING (mac) \
                   WHERE mac = $1 AND counted.epoch >= coalesce(epochs.epoch, 0) GROUP BY rule ORDER BY rule";
        let rows = self.query(sql, &[&mac])?;
        Ok(rows.iter().map(|row| (row.get(0), unsigned(row, 1))).collect())
    }

    fn query(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, PostgresError> {
        let Self { runtime, client, at, .. } = self;
        limited(runtime, at, OPERATION_MAX, async {
            client.query(sql, values).await.map_err(|error| PostgresError::of(at, &error))
        })
    }
}

fn texts(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| row.get(0)).collect()
}
