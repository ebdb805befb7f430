//! [`Postgres::news`]: what is new in the shared ledger since the last look.
//!
//! A batch's rows have its number (`sequence`), and the responder's row has the number of its last batch. Batches of one
//! responder are committed in the order of their numbers. So a reader needs one number for each responder, its mark: rows up to
//! the mark are known. A number over all responders would not do, because two of them commit in no order, and a reader could
//! pass a number that is not visible yet.
//!
//! A look first reads the numbers of the last batches, and then rows up to these only. A row that is written again meanwhile
//! gets a greater number, and the next look finds it.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::{Client, Error, Row, Statement};

use super::write::number;
use super::{OPERATION_MAX, Postgres, PostgresError, limited, unsigned};
use crate::rows::{OtherRow, Page, ResponderRow, Status, TotalsRow};

/// A page ends with the batch that brings one of its tables to this many rows. A batch has a few thousand at most.
const PAGE: i64 = 1000;
/// Boots of a machine in a page.
const BOOTS: i64 = 8;
/// Maximum number of responders.
const RESPONDERS_MAX: i64 = 1000;

/// The number of the last batch that was read, by responder.
#[derive(Clone, Debug, Default)]
pub struct Marks(HashMap<String, i64>);

impl Marks {
    /// Where to go on with a responder whose last batch has the number `last`. A lower number than the mark means that the
    /// database is an older copy of itself: then everything is read again.
    fn of(&self, responder: &str, last: i64) -> i64 {
        self.0.get(responder).copied().filter(|mark| *mark <= last).unwrap_or(0)
    }
}

/// The statements of a look, prepared for one connection.
pub(super) struct Questions {
    responders: Statement,
    /// The number of the last batch of a page.
    end: Statement,
    machines: Statement,
    changed: Statement,
    epochs: Statement,
    counts: Statement,
    listed: Statement,
}

impl Questions {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        let responders = "SELECT name, sequence, host, leased > now() - interval '9 s', \
            CASE WHEN isfinite(leased) THEN (extract(epoch FROM now() - leased) * 1000)::bigint END, \
            pxed, segment, rules, waiting FROM responders ORDER BY name LIMIT $1";
        let full = |table: &str| {
            format!(
                "(SELECT CASE WHEN count(*) = $4 THEN max(sequence) END FROM (SELECT sequence FROM {table} \
                 WHERE responder = $1 AND sequence > $2 AND sequence <= $3 ORDER BY sequence LIMIT $4) AS rows)"
            )
        };
        // Without a full table, these are null, and the page ends with the last batch.
        let end = format!(
            "SELECT least($3::bigint, {}, {}, {})",
            full("machines"),
            full("counted"),
            full("epochs")
        );
        // Two responders may have written the same boot. The one that has the machine now knows more of it.
        let machines = "SELECT mac, version, json::text, ARRAY(SELECT latest.json FROM (SELECT DISTINCT ON (at) at, \
            boots.json::text AS json FROM boots WHERE boots.mac = machines.mac \
            ORDER BY at DESC, boots.responder = machines.responder DESC LIMIT $4) AS latest ORDER BY latest.at DESC) \
            FROM machines WHERE responder = $1 AND sequence > $2 AND sequence <= $3";
        let changed = "SELECT mac FROM counted WHERE responder = $1 AND sequence > $2 AND sequence <= $3 \
            UNION SELECT mac FROM epochs WHERE responder = $1 AND sequence > $2 AND sequence <= $3";
        let epochs = "SELECT mac, epoch FROM epochs WHERE mac = ANY($1)";
        let counts = "SELECT mac, rule, sum(count)::bigint FROM counted LEFT JOIN epochs USING (mac) \
            WHERE mac = ANY($1) AND counted.epoch >= coalesce(epochs.epoch, 0) GROUP BY mac, rule";
        let listed = "SELECT mac FROM machines WHERE mac > $1 ORDER BY mac LIMIT $2";
        Ok(Self {
            responders: client.prepare(responders).await?,
            end: client.prepare(&end).await?,
            machines: client.prepare(machines).await?,
            changed: client.prepare(changed).await?,
            epochs: client.prepare(epochs).await?,
            counts: client.prepare(counts).await?,
            listed: client.prepare(listed).await?,
        })
    }

    /// The machines of a page, which `responder` wrote in the batches after `mark` up to `end`.
    async fn machines(
        &self,
        client: &Client,
        (responder, mark, end): (&str, i64, i64),
    ) -> Result<Vec<OtherRow>, Error> {
        let rows = client.query(&self.machines, &[&responder, &mark, &end, &BOOTS]).await?;
        let machine = |row: &Row| OtherRow {
            mac: row.get(0),
            responder: responder.to_owned(),
            version: unsigned(row, 1),
            json: row.get(2),
            boots: row.get(3),
        };
        Ok(rows.iter().map(machine).collect())
    }

    /// What counts for the machines of a page.
    async fn totals(
        &self,
        client: &Client,
        (responder, mark, end): (&str, i64, i64),
    ) -> Result<Vec<TotalsRow>, Error> {
        let changed = client.query(&self.changed, &[&responder, &mark, &end]).await?;
        let macs: Vec<String> = changed.iter().map(|row| row.get(0)).collect();
        if macs.is_empty() {
            return Ok(Vec::new());
        }
        let none = |mac: &String| (mac.clone(), TotalsRow { mac: mac.clone(), ..TotalsRow::default() });
        let mut totals: BTreeMap<String, TotalsRow> = macs.iter().map(none).collect();
        for row in &client.query(&self.epochs, &[&macs]).await? {
            if let Some(total) = totals.get_mut(row.get::<_, &str>(0)) {
                total.epoch = unsigned(row, 1);
            }
        }
        for row in &client.query(&self.counts, &[&macs]).await? {
            if let Some(total) = totals.get_mut(row.get::<_, &str>(0)) {
                total.counts.push((row.get(1), unsigned(row, 2)));
            }
        }
        Ok(totals.into_values().collect())
    }
}

impl Postgres {
    /// Reads the next part of what is new, and moves the marks behind it.
    ///
    /// # Errors
    /// Why nothing was read. The marks are as before.
    pub fn news(&mut self, marks: &mut Marks) -> Result<Page, PostgresError> {
        let Self { runtime, client, questions, writer, at, .. } = self;
        limited(runtime, at, OPERATION_MAX, async {
            let failed = |error| PostgresError::of(at, &error);
            let rows = client.query(&questions.responders, &[&RESPONDERS_MAX]).await.map_err(failed)?;
            let mut page =
                Page { responders: rows.iter().map(responder).collect(), is_last: true, ..Page::default() };
            let mut new = rows.iter().filter_map(|row| {
                let (name, last) = (row.get::<_, &str>(0), row.get::<_, i64>(1));
                let mark = marks.of(name, last);
                (mark < last).then_some((name, mark, last))
            });
            let Some((name, mark, last)) = new.next() else { return Ok(page) };
            let end = client.query_one(&questions.end, &[&name, &mark, &last, &PAGE]).await;
            let end: i64 = end.map_err(failed)?.get(0);
            page.is_last = end == last && new.next().is_none();
            let range = (name, mark, end);
            if name != writer.responder {
                page.machines = questions.machines(client, range).await.map_err(failed)?;
            }
            page.totals = questions.totals(client, range).await.map_err(failed)?;
            marks.0.insert(name.to_owned(), end);
            Ok(page)
        })
    }

    /// Reads the addresses of all machines after `mac`, in an order of the database's own.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn machines_after(&mut self, mac: &str, most: usize) -> Result<Vec<String>, PostgresError> {
        let Self { runtime, client, questions, at, .. } = self;
        limited(runtime, at, OPERATION_MAX, async {
            let rows = client.query(&questions.listed, &[&mac, &number(most as u64)]).await;
            let rows = rows.map_err(|error| PostgresError::of(at, &error))?;
            Ok(rows.iter().map(|row| row.get(0)).collect())
        })
    }
}

fn responder(row: &Row) -> ResponderRow {
    ResponderRow {
        name: row.get(0),
        host: row.get(2),
        is_alive: row.get(3),
        renewed_ago: row.get::<_, Option<i64>>(4).map(|ago| u64::try_from(ago).unwrap_or_default()),
        status: Status {
            pxed: row.get(5),
            segment: row.get(6),
            rules: row.get(7),
            waiting: unsigned(row, 8),
        },
    }
}
