//! What is measured, and the table.

use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use pxe_fleet::board::Update;
use pxe_kit::clock;
use pxe_kit::postgres::Postgres;
use tokio::sync::broadcast::error::TryRecvError;

use crate::responder::{Responder, image, mac};

/// The database of the ledger.
const DATABASE: &str = "postgres";
/// How the server is set up beside its defaults: a commit is on the disk before it is confirmed.
const SETTINGS: &str = "fsync = on\nmax_connections = 200\nshared_buffers = 256MB\n";
/// Bytes in a page of memory, on all processors that pxed is built for.
const PAGE: u64 = 4096;
/// The longest that everything may take to be in the database.
const DRAIN_MAX: Duration = Duration::from_secs(1800);
/// The longest that a step may take to another board. It only stops a measurement that hangs.
const LAG_MAX: Duration = Duration::from_secs(60);
/// Time between two looks at a board that has no change.
const LOOK_EVERY: Duration = Duration::from_micros(500);
/// Boots a second, of all responders together, while the lag is measured.
const BACKGROUND: u32 = 100;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Responders, each with a segment of its own.
    pub responders: u32,
    /// Machines, for each row of the table.
    pub machines: Vec<u32>,
    /// Steps whose way to another board is measured.
    pub probes: u32,
}

/// Figures of one row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row {
    machines: u32,
    /// Seconds until all boots were reported to the fleets.
    reported: f64,
    /// Seconds until the database had all of them.
    shared: f64,
    /// Rows of all tables.
    rows: u64,
    /// Seconds from a step to another responder's board: median, 99th percentile, longest.
    lag: [f64; 3],
    /// Bytes of the database.
    database: u64,
    /// Bytes of this process, which has all responders.
    memory: u64,
}

/// The table.
#[derive(Clone, Debug)]
pub struct Table {
    wish: Wish,
    rows: Vec<Row>,
}

/// Measures all rows. `line` gets what is going on.
///
/// # Errors
/// If something does not start, or does not end.
pub fn run(wish: &Wish, mut line: impl FnMut(String)) -> Result<Table> {
    let mut rows = Vec::new();
    for machines in &wish.machines {
        line(format!("{} responders, {machines} machines", wish.responders));
        rows.push(row(wish, *machines, &mut line)?);
    }
    Ok(Table { wish: wish.clone(), rows })
}

fn row(wish: &Wish, machines: u32, line: &mut impl FnMut(String)) -> Result<Row> {
    let folder = tempfile::tempdir()?;
    let server = Postgres::start_with(SETTINGS, |_| Ok(()))?;
    let image = image(folder.path())?;
    let url = server.url(DATABASE);
    let before = resident()?;
    let start = |number| Responder::start(&format!("r{number}"), folder.path(), &url);
    let responders: Vec<Responder> = (0..wish.responders).map(start).collect::<Result<_>>()?;
    let at = |machine: u32| &responders[(machine % wish.responders) as usize];

    let began = clock::now();
    (0..machines).for_each(|machine| at(machine).boot(machine, &image));
    let reported = began.elapsed().as_secs_f64();
    line(format!("  reported after {reported:.1} s"));
    let count = |table: &str| -> Result<u64> {
        Ok(server.sql(DATABASE, &format!("SELECT count(*) FROM pxed.{table}"))?.parse()?)
    };
    let fetched = "steps WHERE json->>'event' = 'fetched'";
    let has_all = || Ok(count(fetched).unwrap_or(0) == u64::from(machines));
    clock::wait_until("the database has all boots", DRAIN_MAX, has_all)?;
    let shared = began.elapsed().as_secs_f64();
    line(format!("  in the database after {shared:.1} s"));

    let is_over = AtomicBool::new(false);
    let lag = thread::scope(|scope| {
        scope.spawn(|| {
            let mut machine = 0;
            while !is_over.load(Ordering::Relaxed) {
                at(machine).boot(machine, &image);
                machine = (machine + 1) % machines;
                thread::sleep(Duration::from_secs(1) / BACKGROUND);
            }
        });
        let lags: Result<Vec<f64>> =
            (0..wish.probes).map(|probe| lag(&responders, machines + probe)).collect();
        is_over.store(true, Ordering::Relaxed);
        lags
    });
    let lag = percentiles(lag?);
    line(format!("  to another board: p50 {:.2} s, p99 {:.2} s, at most {:.2} s", lag[0], lag[1], lag[2]));

    let memory = resident()?.saturating_sub(before);
    let size = format!("SELECT pg_database_size('{DATABASE}')");
    let database = server.sql(DATABASE, &size)?.parse()?;
    let tables = ["machines", "boots", "steps", "counted"];
    let rows = tables.into_iter().map(count).sum::<Result<u64>>()?;
    responders.into_iter().try_for_each(Responder::stop)?;
    Ok(Row { machines, reported, shared, rows, lag, database, memory })
}

/// Seconds from a new machine's offer at one responder until another one's board shows it.
fn lag(responders: &[Responder], machine: u32) -> Result<f64> {
    let of = |number: u32| &responders[number as usize % responders.len()];
    let (here, there) = (of(machine), of(machine + 1));
    let wanted = mac(machine).to_string();
    let mut updates = there.handle().updates();
    let began = clock::now();
    here.offer(machine);
    while began.elapsed() < LAG_MAX {
        match updates.try_recv() {
            Ok(update) => {
                if let Update::Machine { machine, .. } = &*update
                    && machine.mac == wanted
                {
                    return Ok(began.elapsed().as_secs_f64());
                }
            }
            Err(TryRecvError::Empty) => thread::sleep(LOOK_EVERY),
            Err(TryRecvError::Lagged(_)) => {
                // The update may be among those that were missed.
                if there.handle().board().machines.iter().any(|machine| machine.mac == wanted) {
                    return Ok(began.elapsed().as_secs_f64());
                }
            }
            Err(TryRecvError::Closed) => break,
        }
    }
    anyhow::bail!("machine {wanted} is not on another board after {LAG_MAX:?}")
}

/// The median, the 99th percentile and the largest.
fn percentiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1) as f64;
    [0.5, 0.99, 1.0].map(|share| values.get((last * share).round() as usize).copied().unwrap_or_default())
}

/// This process' memory in bytes.
fn resident() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).context("statm has no second number")?.parse()?;
    Ok(pages * PAGE)
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wish, rows } = self;
        writeln!(f, "{} responders, one PostgreSQL, {} processors", wish.responders, processors())?;
        writeln!(
            f,
            "machines  boots/s  in the database/s  rows/boot  lag p50    p99    max  bytes/boot in the database  MB/responder"
        )?;
        for row in rows {
            let machines = f64::from(row.machines);
            let boots = machines.max(1.0);
            let [p50, p99, max] = row.lag;
            writeln!(
                f,
                "{:8}  {:7.0}  {:17.0}  {:9.1}  {p50:6.2}s  {p99:5.2}s  {max:5.2}s  {:26.0}  {:12.1}",
                row.machines,
                machines / row.reported,
                machines / row.shared,
                row.rows as f64 / boots,
                row.database as f64 / boots,
                row.memory as f64 / f64::from(wish.responders) / 1e6,
            )?;
        }
        Ok(())
    }
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        assert_eq!(percentiles((1..=101).rev().map(f64::from).collect()), [51.0, 100.0, 101.0]);
        assert_eq!(percentiles(Vec::new()), [0.0; 3]);
    }
}
