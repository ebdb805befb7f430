//! Three responders that share a segment and a ledger in PostgreSQL, beside a foreign DHCP server, while machines boot and
//! something fails: all machines boot, and the ledger has what the machines saw, each file once.
//!
//! | file | noun |
//! |---|---|
//! | [`schedule`] | what fails when, written down or drawn from a seed; pure |
//! | [`site`] | the network and the responders |
//! | `database` | the servers of the ledger: a primary, its standby, and their network |
//! | [`storm`] | machines that are switched on together, and what each of them saw |
//! | [`compare`] | what the ledger lacks, and what it has too often; pure |
//! | [`report`] | what came of each schedule, as a table and as a verdict; pure |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pxe_kit::clock;

pub mod compare;
mod database;
pub mod report;
pub mod schedule;
pub mod site;
pub mod storm;

use compare::{Differences, Fetched, Known};
use report::{ClusterReport, Promoted, Row};
use schedule::{Act, Schedule};
use site::{NAMES, Site};
use storm::Seen;

/// How long the ledger may take until it has everything, once all are up again.
const DRAIN_MAX: Duration = Duration::from_secs(90);
/// A responder that was killed may write what it had saved after its lease of 9 s, and after some attempts to connect.
const SETTLE: Duration = Duration::from_secs(13);
/// A responder that is killed takes along what it has not committed: the events of this time, which is generous.
const UNCOMMITTED: Duration = Duration::from_secs(5);
/// If a responder is cut off from a machine that has just loaded a file, the last acknowledgement gets lost, and the responder
/// does not know that the file arrived.
const UNACKNOWLEDGED: Duration = Duration::from_secs(1);

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

/// Runs all schedules. `line` gets what is going on.
///
/// # Errors
/// If something does not start, or somebody interrupts. That a machine does not boot is no error but a row.
pub fn run(wish: &Wish, mut line: impl FnMut(String)) -> Result<ClusterReport> {
    let mut site = Site::start(&wish.datapath)?;
    let (mut report, mut known) = (ClusterReport::default(), Known::default());
    let mut first = 0;
    for schedule in &wish.schedules {
        line(format!("{}: {schedule}", schedule.name));
        let row = play(&mut site, wish, schedule, first, &mut known)
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

/// What may be missing in the ledger after an act: files that this responder sent about then. `None` if nothing may be.
fn excuse(act: Act) -> Option<(usize, Duration)> {
    match act {
        Act::Kill(responder) => Some((responder, UNCOMMITTED)),
        Act::Unplug(responder) | Act::Isolate(responder) => Some((responder, UNACKNOWLEDGED)),
        _ => None,
    }
}

/// The files that a responder which was cut off may count as loaded, although their machines gave it up: one of each machine
/// that began again.
fn unsure(all: &[Seen], acts: &[(Duration, Act)]) -> Fetched {
    let cut = acts.iter().filter_map(|(_, act)| match act {
        Act::Unplug(responder) | Act::Isolate(responder) => Some(*responder),
        _ => None,
    });
    let files = |responder: usize| {
        let again = all.iter().filter(|seen| seen.has_begun_again);
        again.map(move |seen| ((seen.mac(), NAMES[responder].to_owned()), 1))
    };
    cut.flat_map(files).collect()
}

/// Plays one schedule with machines from the number `first` on. `known` is what was known before, of all schedules.
fn play(site: &mut Site, wish: &Wish, schedule: &Schedule, first: u32, known: &mut Known) -> Result<Row> {
    site.database.pair()?;
    site.set_clocks(schedule.clocks)?;
    site.wait_shared()?;
    site.promotion = None;
    let (began, began_at) = (clock::now(), site.database.now()?);
    let storm = storm::start(site, schedule, first)?;
    let mut acts = schedule.acts.iter().peekable();
    // Responders that may have lost something, when, and by how much earlier or later that was.
    let mut excuses: Vec<(usize, Duration, Duration)> = Vec::new();
    while !storm.is_over() || acts.peek().is_some() {
        ensure!(!wish.interrupted.load(Ordering::Relaxed), "interrupted, so there is no verdict");
        if let Some((_, act)) = acts.next_if(|(at, _)| began.elapsed() >= *at) {
            let before = began.elapsed();
            site.carry_out(*act).with_context(|| format!("{act:?}"))?;
            if let Some((responder, off)) = excuse(*act) {
                excuses.push((responder, before, off));
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    let all = storm.end()?;
    site.restore()?;
    let restored = clock::now();
    known.unsure.extend(unsure(&all, &schedule.acts));
    let mut excusable = Fetched::new();
    for machine in all.iter().filter(|machine| machine.booted) {
        let key = (machine.mac(), NAMES[usize::from(machine.server)].to_owned());
        let is_excusable = excuses.iter().any(|(responder, at, off)| {
            *responder == usize::from(machine.server)
                && machine.finished <= *at + *off
                && *at <= machine.finished + *off
        });
        if is_excusable {
            *excusable.entry(key.clone()).or_default() += 1;
        }
        *known.seen.entry(key).or_default() += 1;
    }
    let mut differences = Differences::default();
    let has_all = || {
        let ledger = site.database.fetched()?;
        differences = compare::compare(known, &excusable, &ledger);
        // What a killed responder took along never comes, but what it had saved does.
        let is_settled = differences.excused == 0 || restored.elapsed() > SETTLE;
        Ok(differences.missing == 0 && is_settled)
    };
    // If it never has, that is no error but a row.
    let _ = clock::wait_until("the ledger has everything", DRAIN_MAX, has_all);
    let drained = restored.elapsed().as_secs_f64();
    known.settle(site.database.fetched()?);
    let macs: Vec<String> = all.iter().map(Seen::mac).collect();
    let wrote = match (macs.iter().min(), macs.iter().max()) {
        (Some(first), Some(last)) => site.database.written([first, last])?,
        _ => BTreeMap::new(),
    };
    let promotion = site.promotion.take().map(|promotion| Promoted {
        timelines: promotion.timelines,
        rows: promotion.before.len(),
        lost: compare::lost(&promotion.before, &promotion.after),
    });
    Ok(Row {
        schedule: schedule.clone(),
        seen: all,
        differences,
        drained,
        promotion,
        wrote,
        between: [began_at, site.database.now()?],
        disordered: site.database.disordered()?,
    })
}
