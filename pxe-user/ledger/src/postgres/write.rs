//! [`Statements`]: how a batch becomes rows. Each table takes one statement, whatever the number of rows.
//!
//! Rows of one table are sorted by their keys, so that two responders lock rows that both write in the same order.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement, Transaction};

use super::notices::NOTIFY;
use crate::rows::{NumberedRows, Rows};

/// The statements of a batch, prepared for one connection.
pub(super) struct Statements {
    /// Locks the responder's row, and renews its lease.
    pub(super) lock: Statement,
    /// Notes the last batch.
    pub(super) note: Statement,
    /// Wakes the other responders, which read what is new. PostgreSQL delivers it after the commit.
    pub(super) notify: Statement,
    forget: Statement,
    forget_boots: Statement,
    machines: Statement,
    boots: Statement,
    steps: Statement,
    errors: Statement,
    epochs: Statement,
    outdated: Statement,
    counted: Statement,
}

type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Statements {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        let lock = "UPDATE responders SET leased = now() WHERE name = $1 AND instance = $2 RETURNING spool, sequence";
        let note =
            "UPDATE responders SET spool = $2, sequence = $3, clock = greatest(clock, $4) WHERE name = $1";
        // What another responder wrote last is not this one's to forget.
        let forget = "DELETE FROM machines WHERE mac = ANY($1) AND responder = $2";
        let forget_boots = "DELETE FROM boots WHERE mac = ANY($1) AND responder = $2";
        let machines = "INSERT INTO machines (responder, sequence, version, mac, json) \
            SELECT $1, $2, $3, u.mac, u.json::json FROM unnest($4::text[], $5::text[]) AS u(mac, json) \
            ON CONFLICT (mac) DO UPDATE SET json = excluded.json, version = excluded.version, \
            responder = excluded.responder, sequence = excluded.sequence \
            WHERE (machines.version, machines.responder) < (excluded.version, excluded.responder)";
        let boots = "INSERT INTO boots (responder, sequence, age, mac, at, json) \
            SELECT $1, $2, clock.age, u.mac, u.at, u.json::json \
            FROM clock, unnest($3::text[], $4::int8[], $5::text[]) AS u(mac, at, json) \
            ON CONFLICT (mac, at, responder) DO UPDATE SET json = excluded.json, age = excluded.age, \
            sequence = excluded.sequence";
        let steps = "INSERT INTO steps (responder, age, id, at, mac, json) \
            SELECT $1, clock.age, u.id, u.at, u.mac, u.json::json \
            FROM clock, unnest($2::int8[], $3::int8[], $4::text[], $5::text[]) AS u(id, at, mac, json) \
            ON CONFLICT DO NOTHING";
        let errors = "INSERT INTO errors (responder, age, mac, test, address, at, json) \
            SELECT $1, clock.age, u.mac, u.test, u.address, u.at, u.json::json \
            FROM clock, unnest($2::text[], $3::int8[], $4::text[], $5::int8[], $6::text[]) AS u(mac, test, address, at, json) \
            ON CONFLICT (mac, test, address, responder) DO UPDATE SET json = excluded.json, age = excluded.age";
        let epochs = "INSERT INTO epochs (mac, epoch, responder, sequence) \
            SELECT u.mac, u.epoch, $3, $4 FROM unnest($1::text[], $2::int8[]) AS u(mac, epoch) \
            ON CONFLICT (mac) DO UPDATE SET epoch = excluded.epoch, responder = excluded.responder, \
            sequence = excluded.sequence WHERE epochs.epoch < excluded.epoch";
        let outdated = "DELETE FROM counted USING epochs \
            WHERE counted.mac = epochs.mac AND epochs.mac = ANY($1) AND counted.epoch < epochs.epoch";
        // If two responders know different epochs, the older one: the machine then boots once more, not once less.
        let counted = "INSERT INTO counted (responder, sequence, age, mac, rule, boot, epoch, count) \
            SELECT $1, $2, clock.age, u.* FROM clock, unnest($3::text[], $4::text[], $5::text[], $6::int8[], $7::int8[]) AS u \
            ON CONFLICT (mac, rule, boot) DO UPDATE SET epoch = least(counted.epoch, excluded.epoch), \
            count = greatest(counted.count, excluded.count), sequence = excluded.sequence, responder = excluded.responder \
            WHERE counted.epoch > excluded.epoch OR counted.count < excluded.count";
        Ok(Self {
            lock: client.prepare(lock).await?,
            note: client.prepare(note).await?,
            notify: client.prepare(NOTIFY).await?,
            forget: client.prepare(forget).await?,
            forget_boots: client.prepare(forget_boots).await?,
            machines: client.prepare(machines).await?,
            boots: client.prepare(boots).await?,
            steps: client.prepare(steps).await?,
            errors: client.prepare(errors).await?,
            epochs: client.prepare(epochs).await?,
            outdated: client.prepare(outdated).await?,
            counted: client.prepare(counted).await?,
        })
    }

    /// Writes a batch's rows.
    pub(super) async fn write(
        &self,
        transaction: &Transaction<'_>,
        responder: &str,
        batch: &NumberedRows,
    ) -> Result<(), Error> {
        let sequence = number(batch.sequence);
        let Rows { machines, forgotten, boots, steps, errors, epochs, counted, .. } = &batch.rows;
        let run = async |statement: &Statement, rows: usize, values: Values<'_>| match rows {
            0 => Ok(()),
            _ => transaction.execute(statement, values).await.map(drop),
        };
        let forgotten: Vec<_> =
            forgotten.iter().map(|mac| text(mac)).collect::<BTreeSet<_>>().into_iter().collect();
        run(&self.forget, forgotten.len(), &[&forgotten, &responder]).await?;
        run(&self.forget_boots, forgotten.len(), &[&forgotten, &responder]).await?;

        let rows: BTreeMap<_, _> = machines.iter().map(|row| (text(&row.mac), text(&row.json))).collect();
        let (macs, jsons): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let version = number(batch.version);
        run(&self.machines, macs.len(), &[&responder, &sequence, &version, &macs, &jsons]).await?;

        // A batch may contain a boot twice. The later row is the newer one.
        let rows: BTreeMap<_, _> =
            boots.iter().map(|row| ((text(&row.mac), number(row.at)), text(&row.json))).collect();
        let (keys, jsons): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let (macs, times): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
        run(&self.boots, macs.len(), &[&responder, &sequence, &macs, &times, &jsons]).await?;

        let ids: Vec<_> = steps.iter().map(|row| number(row.id)).collect();
        let times: Vec<_> = steps.iter().map(|row| number(row.at)).collect();
        let macs: Vec<_> = steps.iter().map(|row| text(&row.mac)).collect();
        let jsons: Vec<_> = steps.iter().map(|row| text(&row.json)).collect();
        run(&self.steps, ids.len(), &[&responder, &ids, &times, &macs, &jsons]).await?;

        let rows: BTreeMap<_, _> =
            errors.iter().map(|row| ((text(&row.mac), number(row.test), text(&row.address)), row)).collect();
        let macs: Vec<_> = rows.keys().map(|(mac, ..)| mac).collect();
        let tests: Vec<_> = rows.keys().map(|(_, test, _)| test).collect();
        let addresses: Vec<_> = rows.keys().map(|(.., address)| address).collect();
        let times: Vec<_> = rows.values().map(|row| number(row.at)).collect();
        let jsons: Vec<_> = rows.values().map(|row| text(&row.json)).collect();
        run(&self.errors, macs.len(), &[&responder, &macs, &tests, &addresses, &times, &jsons]).await?;

        let mut rows = BTreeMap::new();
        for row in epochs {
            let epoch = rows.entry(text(&row.mac)).or_insert(0);
            *epoch = number(row.epoch).max(*epoch);
        }
        let (macs, values): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        run(&self.epochs, macs.len(), &[&macs, &values, &responder, &sequence]).await?;

        let rows: BTreeMap<_, _> =
            counted.iter().map(|row| ((text(&row.mac), text(&row.rule), text(&row.boot)), row)).collect();
        let counted: Vec<_> = rows.keys().map(|(mac, ..)| mac).collect();
        let rules: Vec<_> = rows.keys().map(|(_, rule, _)| rule).collect();
        let boots: Vec<_> = rows.keys().map(|(.., boot)| boot).collect();
        let epochs: Vec<_> = rows.values().map(|row| number(row.epoch)).collect();
        let counts: Vec<_> = rows.values().map(|row| i64::from(row.count)).collect();
        let values: Values<'_> = &[&responder, &sequence, &counted, &rules, &boots, &epochs, &counts];
        run(&self.counted, counted.len(), values).await?;
        // After both: a boot of an older epoch may come after the epoch.
        let touched: Vec<_> = macs.iter().chain(counted).collect();
        run(&self.outdated, touched.len(), &[&touched]).await
    }
}

/// PostgreSQL's integers are signed. Times and numbers are far below the limit.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// PostgreSQL's texts contain no NUL. Names in a configuration can.
fn text(value: &str) -> String {
    value.replace('\0', "\u{fffd}")
}
