//! Deletes old rows. Any responder may do so, and one does at a time.
//!
//! As for SQLite (`crate::sqlite`), age is not the difference of two wall-clock times, because the server's clock may be set.
//! The table `clock` has the ledger's age. Each pass adds the time since the pass before, by the server's clock, but no more
//! than a thirtieth of the retention. So a clock that jumps ages rows by a day of thirty at most.

use std::time::Duration;

use super::write::number;
use super::{OPERATION_MAX, Postgres, PostgresError, limited};

/// The shortest time between two passes, whoever makes them. Each responder asks about once a minute.
const TIDY_EVERY: f64 = 50.0;
/// The key of the advisory lock under which one responder deletes.
const LOCK: i64 = 0x7078_6565;
/// Maximum number of rows that one statement of a pass deletes.
const DELETED_AT_ONCE: i64 = 50_000;
/// At most the retention divided by this counts as the time between two passes.
const ABSENCE_PART: u32 = 30;
/// Maximum number of boots, and of errors, of one machine.
const ROWS_OF_ONE_MAX: i64 = 256;

/// Old boots that count become one row for each machine, rule and epoch: the count stays, and not each boot. A batch that is
/// sent again has no effect on them, because the ledger knows its number.
const ADD_UP: &str = "WITH old AS (DELETE FROM counted WHERE (mac, rule, boot) IN \
    (SELECT mac, rule, boot FROM counted WHERE age < $1 AND boot NOT LIKE 'sum %' AND boot NOT LIKE 'before the move %' ORDER BY age LIMIT $2) RETURNING *) \
    INSERT INTO counted (mac, rule, boot, epoch, count, responder, sequence, age) \
    SELECT mac, rule, 'sum ' || epoch, epoch, sum(count), max(responder), max(sequence), max(age) \
    FROM old GROUP BY mac, rule, epoch \
    ON CONFLICT (mac, rule, boot) DO UPDATE SET count = counted.count + excluded.count, \
    sequence = excluded.sequence, responder = excluded.responder";

impl Postgres {
    /// Deletes rows that are older than `retention`, and surplus ones of each machine. Returns false if another responder does
    /// so at the moment, or did so within [`TIDY_EVERY`] seconds.
    ///
    /// # Errors
    /// Why nothing was deleted.
    pub fn tidy(&mut self, retention: Duration) -> Result<bool, PostgresError> {
        let millis = |duration: Duration| number(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        let (most, retention) = (millis(retention / ABSENCE_PART), millis(retention));
        let Self { runtime, client, at, .. } = self;
        limited(runtime, at, OPERATION_MAX, async {
            let failed = |error| PostgresError::of(at, &error);
            let transaction = client.transaction().await.map_err(failed)?;
            let locked = transaction.query_one("SELECT pg_try_advisory_xact_lock($1)", &[&LOCK]).await;
            if !locked.map_err(failed)?.get::<_, bool>(0) {
                return Ok(false);
            }
            // A last pass in the future was before the server's clock was set back.
            let sql = "UPDATE clock SET wall = now(), \
                       age = age + least(greatest(extract(epoch FROM now() - wall) * 1000, 0), $1::bigint)::bigint \
                       WHERE wall NOT BETWEEN now() - make_interval(secs => $2) AND now() RETURNING age";
            let row = transaction.query_opt(sql, &[&most, &TIDY_EVERY]).await.map_err(failed)?;
            let Some(row) = row else { return Ok(false) };
            let age: i64 = row.get(0);
            let oldest = age.saturating_sub(retention);
            for (table, key) in [
                ("steps", "responder, id"),
                ("boots", "mac, at, responder"),
                ("errors", "mac, test, address, responder"),
            ] {
                let sql = format!(
                    "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE age < $1 ORDER BY age LIMIT $2)"
                );
                transaction.execute(&sql, &[&oldest, &DELETED_AT_ONCE]).await.map_err(failed)?;
            }
            // Only machines with rows since the last pass can have too many, and those are few.
            for (table, key) in [("boots", "mac, at, responder"), ("errors", "mac, test, address, responder")]
            {
                let sql = format!(
                    "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM (SELECT {key}, row_number() OVER \
                     (PARTITION BY mac ORDER BY age DESC, at DESC) AS rank FROM {table} WHERE mac IN \
                     (SELECT mac FROM {table} WHERE age >= $1)) AS ranked WHERE rank > $2 LIMIT $3)"
                );
                let recent = age.saturating_sub(2 * most.min(120_000));
                let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
                    [&recent, &ROWS_OF_ONE_MAX, &DELETED_AT_ONCE];
                transaction.execute(&sql, &values).await.map_err(failed)?;
            }
            transaction.execute(ADD_UP, &[&oldest, &DELETED_AT_ONCE]).await.map_err(failed)?;
            transaction.commit().await.map_err(failed)?;
            Ok(true)
        })
    }
}
