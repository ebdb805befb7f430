//! Three responders that share a segment and a ledger in PostgreSQL, beside a foreign DHCP server, while machines boot and
//! something fails: all machines boot, and the ledger has what the machines saw, each file once.
//!
//! | file | noun |
//! |---|---|
//! | [`schedule`] | what fails when, written down or drawn from a seed; pure |
//! | [`site`] | the network, the database and the responders |
//! | [`storm`] | machines that are switched on together, and what each of them saw |
//! | [`compare`] | what the ledger lacks, and what it has too often; pure |

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pxe_kit::clock;

pub mod compare;
pub mod schedule;
pub mod site;
pub mod storm;

use compare::{Differences, Fetched};
use schedule::{Act, Schedule};
use site::{NAMES, Site, WEIGHTS};
use storm::Seen;

/// How long the ledger may take until it has everything, once all are up again.
const DRAIN_MAX: Duration = Duration::from_secs(90);
/// A responder that was killed may write what it had saved after its lease of 9 s, and after some attempts to connect.
const SETTLE: Duration = Duration::from_secs(13);
/// A responder that is killed takes along what it has not committed: the events of this time, which is generous.
const UNCOMMITTED: Duration = Duration::from_secs(5);
/// The greatest difference between a responder's share of the machines and its share of the weights.
const SHARE_OFF: f64 = 0.1;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The schedules, one after the other, at the same site.
    pub schedules: Vec<Schedule>,
    /// `xdp` or `socket`.
    pub datapath: String,
    /// Somebody wants it to end.
    pub interrupted: Arc<AtomicBool>,
}

/// What came of one schedule.
#[derive(Clone, Debug)]
pub struct Row {
    /// The schedule.
    pub schedule: Schedule,
    /// What each machine saw.
    pub seen: Vec<Seen>,
    /// Where the ledger differs from it, and why that is right.
    pub differences: Differences,
    /// From the moment when all were up again, in seconds, until the ledger had everything.
    pub drained: f64,
}

/// What came of all of them.
#[derive(Clone, Debug, Default)]
pub struct ClusterReport(pub Vec<Row>);

impl Row {
    fn booted(&self) -> usize {
        self.seen.iter().filter(|seen| seen.booted).count()
    }

    /// The machines that a responder served.
    fn served(&self, server: usize) -> usize {
        self.seen.iter().filter(|seen| seen.booted && usize::from(seen.server) == server).count()
    }

    /// # Errors
    /// If something is not as it must be, in a sentence.
    fn check(&self) -> Result<()> {
        let (name, machines) = (&self.schedule.name, self.seen.len());
        ensure!(
            self.booted() == machines,
            "{name}: {} of {machines} machines did not boot",
            machines - self.booted()
        );
        let Differences { missing, excused: _, surplus } = self.differences;
        ensure!(missing == 0, "{name}: the ledger lacks {missing} files that machines have loaded");
        ensure!(surplus == 0, "{name}: the ledger has {surplus} files that no machine has loaded");
        if !self.schedule.acts.is_empty() {
            return Ok(());
        }
        let total: u32 = WEIGHTS.iter().sum();
        for (server, weight) in WEIGHTS.iter().enumerate() {
            let fair = machines as f64 * f64::from(*weight) / f64::from(total);
            let share = self.served(server) as f64;
            let responder = NAMES[server];
            ensure!(
                (share / fair - 1.0).abs() <= SHARE_OFF,
                "{name}: {responder} served {share} machines, by its weight {fair}"
            );
        }
        Ok(())
    }
}

impl ClusterReport {
    /// # Errors
    /// If something is not as it must be, in a sentence.
    pub fn check(&self) -> Result<()> {
        self.0.iter().try_for_each(Row::check)
    }
}

impl fmt::Display for ClusterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|row| row.schedule.name.len()).max().unwrap_or(0).max(8);
        let head =
            "machines  booted   served by a/b/c  again      p50      max  lacks  surplus  unsaved  drained";
        writeln!(f, "{:width$}  {head}", "schedule")?;
        for row in &self.0 {
            let mut times: Vec<f64> =
                row.seen.iter().filter(|seen| seen.booted).map(|seen| seen.took.as_secs_f64()).collect();
            let [p50, _, max] = crate::report::percentiles(&mut times);
            let again = row.seen.iter().filter(|seen| seen.asked_again > 0).count();
            let served = [0, 1, 2].map(|server| row.served(server).to_string()).join("/");
            let Differences { missing, excused, surplus } = row.differences;
            writeln!(
                f,
                "{:width$}  {:8}  {:6}  {served:>16}  {again:5}  {p50:6.2}s  {max:6.2}s  {missing:5}  {surplus:7}  {excused:7}  {:6.1}s",
                row.schedule.name,
                row.seen.len(),
                row.booted(),
                row.drained,
            )?;
        }
        writeln!(
            f,
            "again: machines that had to ask more than once. unsaved: files that a killed responder had sent in its last \
             moments and not yet saved. drained: from the moment when all were up again until the ledger had everything."
        )
    }
}

/// Runs all schedules. `line` gets what is going on.
///
/// # Errors
/// If something does not start, or somebody interrupts. That a machine does not boot is no error but a row.
pub fn run(wish: &Wish, mut line: impl FnMut(String)) -> Result<ClusterReport> {
    let mut site = Site::start(&wish.datapath)?;
    let (mut report, mut seen) = (ClusterReport::default(), Fetched::new());
    let mut first = 0;
    for schedule in &wish.schedules {
        line(format!("{}: {schedule}", schedule.name));
        let row = play(&mut site, wish, schedule, first, &mut seen)
            .with_context(|| format!("{}: {schedule}\n{}", schedule.name, site.logs()))?;
        first += schedule.machines;
        let is_bad = row.check().is_err();
        report.0.push(row);
        if is_bad {
            line(site.logs());
        }
    }
    site.stop()?;
    Ok(report)
}

/// Plays one schedule with machines from the number `first` on. `seen` is what the machines have seen so far, of all schedules.
fn play(site: &mut Site, wish: &Wish, schedule: &Schedule, first: u32, seen: &mut Fetched) -> Result<Row> {
    site.wait_shared()?;
    let began = clock::now();
    let storm = storm::start(site, schedule, first)?;
    let mut acts = schedule.acts.iter().peekable();
    // When each responder was killed.
    let mut killed: Vec<(usize, Duration)> = Vec::new();
    while !storm.is_over() || acts.peek().is_some() {
        ensure!(!wish.interrupted.load(Ordering::Relaxed), "interrupted, so there is no verdict");
        if let Some((_, act)) = acts.next_if(|(at, _)| began.elapsed() >= *at) {
            if let Act::Kill(responder) = act {
                killed.push((*responder, began.elapsed()));
            }
            site.carry_out(*act)?;
        }
        thread::sleep(Duration::from_millis(5));
    }
    let all = storm.end()?;
    site.restore()?;
    let restored = clock::now();
    let mut excusable = Fetched::new();
    for machine in all.iter().filter(|machine| machine.booted) {
        let key = (machine.mac(), NAMES[usize::from(machine.server)].to_owned());
        let is_excusable = killed.iter().any(|(responder, at)| {
            *responder == usize::from(machine.server)
                && machine.finished <= *at + UNCOMMITTED
                && *at <= machine.finished + UNCOMMITTED
        });
        if is_excusable {
            *excusable.entry(key.clone()).or_default() += 1;
        }
        *seen.entry(key).or_default() += 1;
    }
    let mut differences = Differences::default();
    let has_all = || {
        let ledger = site.fetched()?;
        differences = compare::compare(seen, &excusable, &ledger);
        // What a killed responder took along never comes, but what it had saved does.
        let is_settled = differences.excused == 0 || restored.elapsed() > SETTLE;
        Ok(differences.missing == 0 && is_settled)
    };
    // If it never has, that is no error but a row.
    let _ = clock::wait_until("the ledger has everything", DRAIN_MAX, has_all);
    let drained = restored.elapsed().as_secs_f64();
    // From here on the ledger is what has been seen: each schedule is judged for itself.
    *seen = site.fetched()?;
    Ok(Row { schedule: schedule.clone(), seen: all, differences, drained })
}
