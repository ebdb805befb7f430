//! [`ClusterReport`]: what came of each schedule. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use pxe_kit::figures::percentiles;

use super::compare::{self, Differences};
use super::schedule::{Act, Schedule};
use super::site::{NAMES, WEIGHTS};
use super::storm::Seen;

/// The greatest difference between a responder's share of the machines and its share of the weights.
const SHARE_OFF: f64 = 0.1;
/// How much longer than by its firmware's own pauses a machine may wait for a responder. Not longer than the shortest next
/// pause of UEFI, so that one request more is noticed.
const WAIT_OFF: Duration = Duration::from_secs(4);

/// What came of a promotion.
#[derive(Clone, Copy, Debug)]
pub struct Promoted {
    /// The primary's timeline before and after.
    pub timelines: [u32; 2],
    /// Rows that the ledger showed before.
    pub rows: usize,
    /// Those of them that it lacks afterwards.
    pub lost: usize,
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
    /// What came of the promotion of the standby, if there was one.
    pub promotion: Option<Promoted>,
    /// When each responder wrote its first and its last step, by its own clock, in milliseconds.
    pub wrote: BTreeMap<String, [i64; 2]>,
    /// The time of all this by the database's clock.
    pub between: [i64; 2],
    /// Steps of a machine and responder that the ledger has as older than the step before.
    pub disordered: u64,
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
    pub(super) fn check(&self) -> Result<()> {
        let (name, machines) = (&self.schedule.name, self.seen.len());
        ensure!(
            self.booted() == machines,
            "{name}: {} of {machines} machines did not boot",
            machines - self.booted()
        );
        self.check_promotion()?;
        let Differences { missing, excused: _, surplus } = self.differences;
        ensure!(missing == 0, "{name}: the ledger lacks {missing} files that machines have loaded");
        ensure!(surplus == 0, "{name}: the ledger has {surplus} files that no machine has loaded");
        let disordered = self.disordered;
        ensure!(
            disordered == 0,
            "{name}: {disordered} steps are older than the step before of their machine"
        );
        self.check_waits()?;
        self.check_clocks()?;
        let is_calm = self.schedule.acts.is_empty();
        if is_calm { self.check_shares() } else { Ok(()) }
    }

    /// Each machine has an offer after the requests that the schedule allows.
    fn check_waits(&self) -> Result<()> {
        let (name, Some(repeats)) = (&self.schedule.name, self.schedule.repeats) else { return Ok(()) };
        let late = self
            .seen
            .iter()
            .find(|seen| seen.waited > seen.waits.iter().take(repeats).sum::<Duration>() + WAIT_OFF);
        let Some(late) = late else { return Ok(()) };
        let (mac, waited) = (late.mac(), late.waited.as_secs_f64());
        bail!(
            "{name}: {mac} had to wait {waited:.1} s for an offer, longer than {repeats} repeated requests take"
        )
    }

    /// The standby became the primary, and has all that the ledger showed.
    fn check_promotion(&self) -> Result<()> {
        let name = &self.schedule.name;
        let wanted = self.schedule.acts.iter().any(|(_, act)| *act == Act::Promote);
        let Some(Promoted { timelines: [before, after], rows, lost }) = self.promotion else {
            ensure!(!wanted, "{name}: the standby was not promoted");
            return Ok(());
        };
        ensure!(before < after, "{name}: the primary's timeline is {after}, as before the promotion");
        ensure!(lost == 0, "{name}: the new primary lacks {lost} of {rows} rows that the old one showed");
        Ok(())
    }

    /// Each responder's steps are by its own clock.
    fn check_clocks(&self) -> Result<()> {
        let (name, between) = (&self.schedule.name, self.between);
        for (responder, ahead) in NAMES.iter().zip(self.schedule.clocks) {
            let Some(wrote) = self.wrote.get(*responder) else { continue };
            ensure!(
                compare::is_by_clock(*wrote, between, ahead),
                "{name}: the steps of {responder}, from {wrote:?} ms, are not by a clock {ahead} s ahead of {between:?} ms"
            );
        }
        Ok(())
    }

    /// Each responder has served its share.
    fn check_shares(&self) -> Result<()> {
        let (name, machines) = (&self.schedule.name, self.seen.len());
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
        let head = "machines  booted   served by a/b/c  again    offer      p50      max  lacks  surplus  unsaved  drained";
        writeln!(f, "{:width$}  {head}", "schedule")?;
        for row in &self.0 {
            let mut times: Vec<f64> =
                row.seen.iter().filter(|seen| seen.booted).map(|seen| seen.took.as_secs_f64()).collect();
            let [p50, _, max] = percentiles(&mut times);
            let offer = row
                .seen
                .iter()
                .filter(|seen| seen.booted)
                .map(|seen| seen.waited.as_secs_f64())
                .fold(0.0, f64::max);
            let again = row.seen.iter().filter(|seen| seen.asked_again > 0).count();
            let served = [0, 1, 2].map(|server| row.served(server).to_string()).join("/");
            let Differences { missing, excused, surplus } = row.differences;
            writeln!(
                f,
                "{:width$}  {:8}  {:6}  {served:>16}  {again:5}  {offer:6.2}s  {p50:6.2}s  {max:6.2}s  {missing:5}  {surplus:7}  {excused:7}  {:6.1}s",
                row.schedule.name,
                row.seen.len(),
                row.booted(),
                row.drained,
            )?;
        }
        for row in &self.0 {
            let Some(Promoted { timelines: [before, after], rows, lost }) = row.promotion else { continue };
            writeln!(
                f,
                "{}: timeline {before}, then {after}. Of {rows} rows that the old primary showed, the new one lacks {lost}.",
                row.schedule.name
            )?;
        }
        writeln!(
            f,
            "again: machines that had to ask more than once. offer: the longest wait for the first offer. p50, max: from \
             power-on to the last byte. unsaved: files that a responder had sent when it was killed or cut off, and not \
             yet saved. drained: from the moment when all were up again until the ledger had everything."
        )
    }
}
