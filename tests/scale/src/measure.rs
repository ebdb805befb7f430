//! What is measured, and the table.

use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use pxe_fleet::board::Update;
use pxe_kit::clock;
use pxe_kit::figures::percentiles;
use pxe_kit::postgres::Postgres;
use tokio::sync::broadcast::error::TryRecvError;

use crate::reader::{self, Answer};
use crate::responder::{Responder, image, mac};
use crate::usage::{Processors, resident};

/// The database of the ledger.
const DATABASE: &str = "postgres";
/// How the server is set up beside its defaults: a commit is on the disk before it is confirmed.
const SETTINGS: &str = "fsync = on\nmax_connections = 200\nshared_buffers = 256MB\n";
/// The longest that everything may take to be in the database.
const DRAIN_MAX: Duration = Duration::from_secs(1800);
/// The longest that a step may take to another board. It only stops a measurement that hangs.
const LAG_MAX: Duration = Duration::from_secs(60);
/// Time between two looks at a board that has no change.
const LOOK_EVERY: Duration = Duration::from_micros(500);
/// Boots a second, of all responders together, while the lag is measured.
const BACKGROUND: u32 = 20;
/// A minute after its files, a machine's timer changes its state. All machines boot at once here, so all change again then, and
/// the lag is measured when that is over.
const AFTERMATH: Duration = Duration::from_secs(70);
/// Without a change of any board for so long, everything has arrived.
const CALM: Duration = Duration::from_secs(3);

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
    responders: u32,
    machines: u32,
    /// Seconds until the database had all boots.
    shared: f64,
    /// Seconds until each board had all machines.
    shown: f64,
    /// Processor time of both together until then.
    processors: Processors,
    /// Rows of all tables.
    rows: u64,
    /// Seconds from a step to another responder's board: median, 99th percentile, longest.
    lag: [f64; 3],
    /// Bytes of the database.
    database: u64,
    /// Bytes of this process, which has all responders.
    memory: u64,
    /// What a reader of the API saw.
    answer: Answer,
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

    let postmaster = postmaster(&server)?;
    let idle = Processors::now(postmaster)?;
    let began = clock::now();
    (0..machines).for_each(|machine| at(machine).boot(machine, &image));
    let count = |table: &str| -> Result<u64> {
        Ok(server.sql(DATABASE, &format!("SELECT count(*) FROM pxed.{table}"))?.parse()?)
    };
    let fetched = "steps WHERE json->>'event' = 'fetched'";
    let has_all = || Ok(count(fetched).unwrap_or(0) == u64::from(machines));
    clock::wait_until("the database has all boots", DRAIN_MAX, has_all)?;
    let shared = began.elapsed().as_secs_f64();
    line(format!("  in the database after {shared:.1} s"));
    let shows_all = |responder: &Responder| responder.handle().board().machines.len() >= machines as usize;
    let show_all = || Ok(responders.iter().all(shows_all));
    clock::wait_until("each board has all machines", DRAIN_MAX, show_all)?;
    let shown = began.elapsed().as_secs_f64();
    let processors = Processors::now(postmaster)?.since(idle);
    line(format!("  on each board after {shown:.1} s"));

    thread::sleep(AFTERMATH.saturating_sub(began.elapsed()));
    let mut last = (Vec::new(), clock::now());
    let are_calm = || {
        let revisions: Vec<_> =
            responders.iter().map(|responder| responder.handle().board().revision).collect();
        if revisions != last.0 {
            last = (revisions, clock::now());
        }
        Ok(last.1.elapsed() >= CALM)
    };
    clock::wait_until("the boards are calm", DRAIN_MAX, are_calm)?;

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
    let lag = percentiles(&mut lag?);
    line(format!("  to another board: p50 {:.2} s, p99 {:.2} s, at most {:.2} s", lag[0], lag[1], lag[2]));

    let memory = resident()?.saturating_sub(before);
    let size = format!("SELECT pg_database_size('{DATABASE}')");
    let database = server.sql(DATABASE, &size)?.parse()?;
    let tables = ["machines", "boots", "steps", "counted"];
    let rows = tables.into_iter().map(count).sum::<Result<u64>>()?;
    let answer = match responders.first() {
        Some(first) => reader::read_all(first.handle(), folder.path())?,
        None => Answer::default(),
    };
    line(format!(
        "  API: first machine after {:.3} s, {:.1} MB after {:.2} s",
        answer.first,
        answer.bytes as f64 / 1e6,
        answer.whole
    ));
    responders.into_iter().try_for_each(Responder::stop)?;
    let responders = wish.responders;
    Ok(Row { responders, machines, shared, shown, processors, rows, lag, database, memory, answer })
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

/// The number of PostgreSQL's first process: the first line of its postmaster.pid.
fn postmaster(server: &Postgres) -> Result<u32> {
    let path = server.folder().join("data/postmaster.pid");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    text.lines().next().and_then(|line| line.parse().ok()).context("postmaster.pid has no number")
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wish, rows } = self;
        writeln!(f, "{} responders, one PostgreSQL, {} processors for all", wish.responders, processors())?;
        let titles = [
            "machines",
            "in the database, s",
            "on each board, s",
            "database, ms CPU/boot",
            "responder, us CPU/boot",
            "lag p50, s",
            "p99",
            "max",
            "rows/boot",
            "bytes/boot",
            "MB/responder",
            "API first, ms",
            "whole, s",
        ];
        writeln!(f, "| {} |", titles.join(" | "))?;
        writeln!(f, "|{}", "---|".repeat(titles.len()))?;
        for row in rows {
            writeln!(f, "{row}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let boots = f64::from(self.machines.max(1));
        let responders = f64::from(self.responders.max(1));
        let [p50, p99, max] = self.lag;
        write!(f, "| {} | {:.1} | {:.1} ", self.machines, self.shared, self.shown)?;
        let Processors { responders: fleets, database } = self.processors;
        write!(f, "| {:.2} | {:.0} ", database / boots * 1e3, fleets / boots / responders * 1e6)?;
        write!(f, "| {p50:.2} | {p99:.2} | {max:.2} ")?;
        write!(f, "| {:.1} | {:.0} ", self.rows as f64 / boots, self.database as f64 / boots)?;
        write!(f, "| {:.1} ", self.memory as f64 / responders / 1e6)?;
        write!(f, "| {:.1} | {:.2} |", self.answer.first * 1e3, self.answer.whole)
    }
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
