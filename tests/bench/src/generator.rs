//! The load generator's command line, and the sum of its reports.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::cable::{ADDRESS, CLIENT, MAC};
use super::cases::{BLOCK, Case, Play};
use super::faults::{Noise, Versions};
use super::responders::{FRAME, Responder, Who};

/// A run that takes longer counts as it is then, in seconds.
const LIMIT: u32 = 60;
/// The reflector's run, in seconds.
const REFLECT: u32 = 2;
/// Transfers that shall wait are asked for once, and once more a second later: none of them hears an answer.
const WAITING_LIMIT: u32 = 2;

/// The first port of the machines in the first run, and how far from it that of the next: a port per file is used.
const FIRST_PORT: u32 = 2070;
const PORTS: u32 = 64;

/// The arguments for one run of several on end.
pub(super) fn arguments(case: &Case, responder: &Responder, root: &Path, run: u32) -> Vec<String> {
    let mut words = Words::default();
    words.add("--interface", CLIENT);
    words.add("--server", ADDRESS);
    words.add("--server-mac", MAC);
    if responder.who == Who::Reflect {
        words.add("--reflect", FRAME);
        words.add("--seconds", REFLECT);
        return words.0;
    }
    if responder.roomy {
        words.add("--pad", FRAME);
    }
    // A request from a port of the run before would be the repeat of one that was answered.
    words.add("--port", FIRST_PORT + PORTS * run);
    words.add("--seed", run);
    match case.play {
        Play::Load { machines, file, window, power_on } => {
            words.add("--machines", machines);
            words.add("--file", file.name());
            if case.fault.changes_files() {
                let versions = Versions::of(root);
                words.add("--original", versions.first().display());
                words.add("--or", versions.second().display());
            } else {
                words.add("--original", root.join(file.name()).display());
            }
            words.add("--blksize", BLOCK);
            words.add("--windowsize", window);
            words.add("--power-on", power_on);
            words.add("--limit", LIMIT);
        }
        Play::Boots { machines, file, power_on } => {
            words.add("--machines", machines);
            words.add("--boot", "mix");
            words.add("--files", format!("{}={}", file.name(), root.join(file.name()).display()));
            words.add("--power-on", power_on);
            words.add("--limit", LIMIT);
        }
        Play::Offers { machines, each } => {
            words.add("--machines", machines);
            words.add("--dhcp", each);
            words.add("--limit", LIMIT);
        }
        Play::Waiting { machines } => {
            let file = super::cases::File::Small;
            words.add("--machines", machines);
            words.add("--file", file.name());
            words.add("--original", root.join(file.name()).display());
            // All that the responder says is lost.
            words.add("--loss", 1000);
            words.add("--limit", WAITING_LIMIT);
        }
        Play::Stream { .. } => {}
    }
    let Noise { loss, duplicate, reorder, both_ways } = case.noise;
    for (name, share) in [("--loss", loss), ("--duplicate", duplicate), ("--reorder", reorder)] {
        if share > 0 {
            words.add(name, share);
        }
    }
    if both_ways {
        words.0.push("--both-ways".into());
    }
    for (name, value) in case.fault.arguments() {
        words.add(name, value);
    }
    words.0
}

/// Words of a command line.
#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    fn add(&mut self, name: &str, value: impl ToString) {
        self.0.extend([name.to_owned(), value.to_string()]);
    }
}

/// Reads a report.
///
/// # Errors
/// When it is none; with what it is.
pub(super) fn report(said: &str) -> Result<Value> {
    let line = said.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
    let report: Value =
        serde_json::from_str(line).with_context(|| format!("the generator's report is `{}`", said.trim()))?;
    ensure!(report.is_object(), "the generator's report is `{line}`");
    Ok(report)
}

/// Several runs on end as one: counts and times add up, percentiles are the median run's, the longest is the longest.
pub(super) fn sum(reports: &[Value]) -> Value {
    let mut summed = Map::new();
    let names = reports.first().and_then(Value::as_object).into_iter().flat_map(Map::keys);
    for name in names {
        let values: Vec<f64> = reports.iter().filter_map(|report| report[name].as_f64()).collect();
        let value = match name.as_str() {
            "p50" | "p99" => super::figures::median(values),
            "max" => values.iter().copied().fold(0.0, f64::max),
            "own_share" | "busy_share" | "offers_per_second" | "reflected_per_second" => {
                values.iter().sum::<f64>() / values.len().max(1) as f64
            }
            _ => values.iter().sum(),
        };
        summed.insert(name.clone(), json!(value));
    }
    Value::Object(summed)
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Form, cases};
    use super::*;

    #[test]
    fn runs_on_end_are_one() {
        let one = |seconds: f64, p50: f64, max: f64| json!({ "seconds": seconds, "p50": p50, "max": max, "own_share": max });
        let summed = sum(&[one(1.0, 0.1, 0.25), one(2.0, 0.3, 0.5), one(4.0, 0.2, 0.75)]);
        assert_eq!(summed, json!({ "seconds": 7.0, "p50": 0.2, "max": 0.75, "own_share": 0.5 }));
    }

    #[test]
    fn what_is_no_report_is_shown() {
        assert_eq!(report("a warning\n{\"done\":1}\n").unwrap()["done"], 1);
        let error = report("no interface load0\n").unwrap_err().to_string();
        assert!(error.contains("no interface load0"), "{error}");
    }

    #[test]
    fn only_frames_that_shall_have_room_are_padded() {
        let case = &cases(Form::Targets, None)[0];
        let padded =
            |who: Who| arguments(case, who.responder(), Path::new("/root"), 0).contains(&"--pad".to_owned());
        assert!(padded(Who::NativeOffload));
        assert!(!padded(Who::Native) && !padded(Who::GenericOffload));
    }
}
