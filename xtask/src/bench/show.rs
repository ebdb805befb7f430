//! The table, and the samples as JSON.

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::figures::median;
use super::{Case, Responder, Sample};

/// Medians over the rounds, and the median and range of each round's ratio to the reference.
pub(super) fn table(cases: &[&Case], samples: &[Sample]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "case",
        "responder",
        "MB/s",
        "over dnsmasq",
        "p50",
        "p99",
        "failed",
        "repeats",
        "CPU s/GB",
    ]);
    for case in cases {
        for responder in Responder::ALL {
            let mine: Vec<&Sample> = of(samples, case, *responder);
            let figure =
                |get: &dyn Fn(&Sample) -> f64| median(mine.iter().map(|sample| get(sample)).collect());
            table.add_row([
                case.name.to_owned(),
                responder.title().to_owned(),
                format!("{:.0}", figure(&Sample::rate)),
                ratio(&mine, &of(samples, case, Responder::Dnsmasq)),
                format!("{:.3} s", figure(&|sample| sample.get("p50"))),
                format!("{:.3} s", figure(&|sample| sample.get("p99"))),
                format!("{:.0}", figure(&|sample| sample.get("failed"))),
                format!("{:.0}", figure(&|sample| sample.get("repeats"))),
                format!("{:.2}", figure(&|s| s.get("server_seconds") / (s.get("bytes") / 1e9).max(1e-9))),
            ]);
        }
    }
    table
}

fn of<'a>(samples: &'a [Sample], case: &Case, responder: Responder) -> Vec<&'a Sample> {
    samples.iter().filter(|sample| sample.case == case.name && sample.responder == responder).collect()
}

/// Each round against the reference of the same round: median and range.
fn ratio(mine: &[&Sample], reference: &[&Sample]) -> String {
    let ratios: Vec<f64> = mine
        .iter()
        .filter_map(|sample| {
            let other = reference.iter().find(|other| other.round == sample.round)?;
            (other.rate() > 0.0).then(|| sample.rate() / other.rate())
        })
        .collect();
    let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let high = ratios.iter().copied().fold(0.0, f64::max);
    if ratios.is_empty() { "-".into() } else { format!("{:.1} ({low:.1}-{high:.1})", median(ratios)) }
}

/// Everything that was measured.
pub(super) fn json(samples: &[Sample]) -> Value {
    let one = |sample: &Sample| json!({ "case": sample.case, "responder": sample.responder.title(), "round": sample.round, "report": sample.report });
    samples.iter().map(one).collect()
}
