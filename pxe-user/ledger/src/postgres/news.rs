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

/// A page has about this many rows of a table. It ends, for each of its responders, with a whole batch, which has a few
/// thousand rows at most.
const PAGE: i64 = 1000;
/// A page has rows of so many responders at most.
const AT_ONCE: usize = 16;
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

/// What a page has of its responders: the batches of each after `marks` up to `ends`. One index for all three.
struct Range {
    names: Vec<String>,
    marks: Vec<i64>,
    ends: Vec<i64>,
}

/// The statements of a look, prepared for one connection.
pub(super) struct Questions {
    responders: Statement,
    /// The numbers of the last batches of a page.
    ends: Statement,
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
        // OFFSET keeps PostgreSQL from joining in another order: for each responder, it looks into the index.
        let of_range = |questions: &str| {
            format!(
                "unnest($1::text[], $2::int8[], $3::int8[]) AS page(name, after, up_to) \
                 CROSS JOIN LATERAL ({questions} OFFSET 0) AS rows"
            )
        };
        let written = "responder = page.name AND sequence > page.after AND sequence <= page.up_to";
        let full = |table: &str| {
            format!(
                "(SELECT CASE WHEN count(*) = $4 THEN max(sequence) END FROM (SELECT sequence FROM {table} \
                 WHERE {written} ORDER BY sequence LIMIT $4) AS rows)"
            )
        };
        // Without a full table, these are null, and the page has all batches of the responder.
        let ends = format!(
            "SELECT least(up_to, {}, {}, {}) \
             FROM unnest($1::text[], $2::int8[], $3::int8[]) WITH ORDINALITY AS page(name, after, up_to, place) ORDER BY place",
            full("machines"),
            full("counted"),
            full("epochs")
        );
        // Two responders may have written the same boot. The one that has the machine now knows more of it.
        let machines = format!(
            "SELECT rows.mac, rows.version, rows.json, page.name, (SELECT boots.json::text FROM boots WHERE boots.mac = rows.mac \
             ORDER BY at DESC, boots.responder = page.name DESC LIMIT 1) FROM {}",
            of_range(&format!(
                "SELECT mac, version, json::text AS json FROM machines WHERE {written} AND responder <> $4"
            ))
        );
        let changed = format!(
            "SELECT DISTINCT rows.mac FROM {}",
            of_range(&format!(
                "SELECT mac FROM (SELECT mac FROM counted WHERE {written} UNION ALL \
                 SELECT mac FROM epochs WHERE {written}) AS both_tables"
            ))
        );
        let epochs = "SELECT mac, epoch FROM epochs WHERE mac = ANY($1)";
        let counts = "SELECT mac, rule, sum(count)::bigint FROM counted LEFT JOIN epochs USING (mac) \
            WHERE mac = ANY($1) AND counted.epoch >= coalesce(epochs.epoch, 0) GROUP BY mac, rule";
        let listed = "SELECT mac FROM machines WHERE mac > $1 ORDER BY mac LIMIT $2";
        Ok(Self {
            responders: client.prepare(responders).await?,
            ends: client.prepare(&ends).await?,
            machines: client.prepare(&machines).await?,
            changed: client.prepare(&changed).await?,
            epochs: client.prepare(epochs).await?,
            counts: client.prepare(counts).await?,
            listed: client.prepare(listed).await?,
        })
    }

    /// Where the page ends for each responder of `range`, which has all that is new of them.
    async fn ends(&self, client: &Client, range: &Range) -> Result<Vec<i64>, Error> {
        let Range { names, marks, ends } = range;
        let each = (PAGE / number(names.len().max(1) as u64)).max(1);
        let rows = client.query(&self.ends, &[names, marks, ends, &each]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The machines of a page that others than `own` wrote.
    async fn machines(&self, client: &Client, range: &Range, own: &str) -> Result<Vec<OtherRow>, Error> {
        let Range { names, marks, ends } = range;
        let rows = client.query(&self.machines, &[names, marks, ends, &own]).await?;
        let machine = |row: &Row| OtherRow {
            mac: row.get(0),
            version: unsigned(row, 1),
            json: row.get(2),
            responder: row.get(3),
            boot: row.get(4),
        };
        Ok(rows.iter().map(machine).collect())
    }

    /// What counts for the machines of a page.
    async fn totals(&self, client: &Client, range: &Range) -> Result<Vec<TotalsRow>, Error> {
        let Range { names, marks, ends } = range;
        let changed = client.query(&self.changed, &[names, marks, ends]).await?;
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
            let mut range = Range { names: Vec::new(), marks: Vec::new(), ends: Vec::new() };
            let new = rows.iter().filter_map(|row| {
                let (name, last) = (row.get::<_, &str>(0), row.get::<_, i64>(1));
                let mark = marks.of(name, last);
                (mark < last).then_some((name, mark, last))
            });
            for (name, mark, last) in new {
                page.is_last &= range.names.len() < AT_ONCE;
                if page.is_last {
                    range.names.push(name.to_owned());
                    range.marks.push(mark);
                    range.ends.push(last);
                }
            }
            if range.names.is_empty() {
                return Ok(page);
            }
            let ends = questions.ends(client, &range).await.map_err(failed)?;
            page.is_last &= ends == range.ends;
            range.ends = ends;
            page.machines = questions.machines(client, &range, &writer.responder).await.map_err(failed)?;
            page.totals = questions.totals(client, &range).await.map_err(failed)?;
            marks.0.extend(range.names.into_iter().zip(range.ends));
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
