//! Cases, samples, and what is computed of them.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Responder;

/// What the generator plays.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// For people.
    pub name: &'static str,
    /// How many machines.
    pub machines: u64,
    /// Blocks per window; 1 is lock-step.
    pub windowsize: u64,
    /// Which file each loads.
    pub file: &'static str,
    /// Milliseconds over which they are switched on.
    pub power_on_ms: u64,
    /// Frames lost on the way to the machines, per mille.
    pub loss: u64,
}

/// One run's figures.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The case's name.
    pub case: &'static str,
    /// Who answered.
    pub responder: Responder,
    /// In which round.
    pub round: usize,
    /// The generator's report, and `server_seconds`: the responder's processor time.
    pub report: Value,
}

impl Sample {
    pub(super) fn new(case: &Case, responder: Responder, round: usize, report: &Value) -> Result<Self> {
        report["seconds"].as_f64().context("the report has no time")?;
        Ok(Self { case: case.name, responder, round, report: report.clone() })
    }

    /// A figure of the report; 0 if it is not there.
    #[must_use]
    pub fn get(&self, name: &str) -> f64 {
        self.report[name].as_f64().unwrap_or(0.0)
    }

    /// Megabytes a second that arrived and were right.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.get("bytes") / self.get("seconds").max(1e-9) / 1e6
    }
}

/// The middle of the values; 0 of none.
#[must_use]
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        len if len % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Processor time of a process so far, in seconds: user and system, fields 14 and 15 of its stat file.
pub(super) fn processor_seconds(pid: u32) -> f64 {
    // Linux shows these in units of 1/100 s to user space on every architecture.
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }

    #[test]
    fn our_own_processor_time_is_found() {
        assert!(processor_seconds(std::process::id()) >= 0.0);
        assert_eq!(processor_seconds(u32::MAX), 0.0);
    }
}
