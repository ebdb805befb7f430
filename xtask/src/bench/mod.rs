//! The benchmark: the daemon over each datapath and what a user would take instead, in turn, under one load generator.
//!
//! ```text
//! responder's host                      client's host
//!   srv0 10.50.0.1  <---- cable ---->   load0: the generator, all machines in one process
//! ```
//!
//! Each round runs every responder once (A B C A B C), so that a noisy moment hits all alike; figures are medians over
//! the rounds, ratios are medians of each round's own ratio to the reference. Every byte is compared by the generator.

mod figures;
mod responders;
mod show;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use serde_json::Value;

use crate::lab::Lab;
use crate::{command, setup};
pub use figures::{Case, Sample};
pub use responders::Responder;

/// All that the generator plays for one figure; small enough for a laptop, large enough to mean something.
pub const CASES: &[Case] = &[
    Case { name: "1 machine, lock-step", machines: 1, windowsize: 1, file: "small", power_on_ms: 0, loss: 0 },
    Case {
        name: "128 machines, lock-step",
        machines: 128,
        windowsize: 1,
        file: "small",
        power_on_ms: 0,
        loss: 0,
    },
    Case {
        name: "128 machines, lock-step, 4 MB",
        machines: 128,
        windowsize: 1,
        file: "large",
        power_on_ms: 0,
        loss: 0,
    },
    Case {
        name: "16 machines, window 16, 4 MB",
        machines: 16,
        windowsize: 16,
        file: "large",
        power_on_ms: 0,
        loss: 0,
    },
    Case {
        name: "1000 machines within 31 ms",
        machines: 1000,
        windowsize: 1,
        file: "small",
        power_on_ms: 31,
        loss: 0,
    },
    Case {
        name: "128 machines, 1 % loss",
        machines: 128,
        windowsize: 1,
        file: "small",
        power_on_ms: 0,
        loss: 10,
    },
];

/// The files: a memtest86+ sized one, and a larger one.
const FILES: [(&str, usize); 2] = [("small", 145_408), ("large", 4_000_000)];
/// A run that takes longer counts as it is then.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs `rounds` rounds of all cases and prints the table; samples go to out/bench/samples.json.
///
/// # Errors
/// When something is missing, or a responder does not start.
pub fn run(rounds: usize, filter: Option<&str>) -> Result<()> {
    setup::ensure(setup::ALL)?;
    ensure!(command::is_root(), "the benchmark makes network namespaces: run it as root");
    command::run(command::cargo().args([
        "build",
        "--release",
        "--package",
        "pxe-user",
        "--package",
        "pxe-tests",
    ]))?;
    let cases: Vec<&Case> =
        CASES.iter().filter(|case| filter.is_none_or(|word| case.name.contains(word))).collect();
    ensure!(!cases.is_empty(), "no case has `{}` in its name", filter.unwrap_or_default());
    let lab = cable()?;
    let root = files(lab.folder())?;
    let bar = ProgressBar::new((rounds * cases.len() * Responder::ALL.len()) as u64);
    let mut samples = Vec::new();
    for round in 0..rounds {
        for case in &cases {
            for responder in Responder::ALL {
                bar.println(format!("round {}: {}: {}", round + 1, case.name, responder.title()));
                let report = one(&lab, &root, *responder, case)?;
                samples.push(Sample::new(case, *responder, round, &report)?);
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    println!("{}", show::table(&cases, &samples));
    let folder = command::workspace().join("out/bench");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("samples.json");
    std::fs::write(&file, serde_json::to_string_pretty(&show::json(&samples))?)?;
    println!("samples: {}", file.display());
    Ok(())
}

/// The lab's two hosts with a cable of their own between them.
fn cable() -> Result<Lab> {
    let lab = Lab::builder().dhcp(false).start()?;
    let (server, client) = (lab.responder(), lab.client());
    let link = ["link", "add", "srv0", "type", "veth", "peer", "name", "load0", "netns", client.namespace()];
    server.output("ip", &link)?;
    server.output("ip", &["addr", "add", "10.50.0.1/16", "dev", "srv0"])?;
    // The generator answers no ARP: machines are a process, and peers shall not pay for asking.
    server.output("ip", &["link", "set", "srv0", "arp", "off", "up"])?;
    client.output("ip", &["link", "set", "load0", "up"])?;
    Ok(lab)
}

fn files(folder: &Path) -> Result<std::path::PathBuf> {
    let root = folder.join("bench-root");
    std::fs::create_dir_all(&root)?;
    for (name, len) in FILES {
        let mut state = len as u64 | 1;
        let next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        std::fs::write(root.join(name), std::iter::repeat_with(next).take(len).collect::<Vec<u8>>())?;
    }
    Ok(root)
}

/// One responder, one case: starts it, loads it, stops it.
fn one(lab: &Lab, root: &Path, responder: Responder, case: &Case) -> Result<Value> {
    let process = responder.start(lab, root)?;
    let before = figures::processor_seconds(process.pid());
    let generator = command::target_dir().join("release/load");
    let generator = generator.to_str().context("the path is not UTF-8")?;
    let original = root.join(case.file);
    let original = original.to_str().context("the path is not UTF-8")?;
    let number = |value: u64| value.to_string();
    let said = lab.client().output(
        generator,
        &[
            "--interface",
            "load0",
            "--server",
            "10.50.0.1",
            "--file",
            case.file,
            "--original",
            original,
            "--machines",
            &number(case.machines),
            "--windowsize",
            &number(case.windowsize),
            "--power-on",
            &number(case.power_on_ms),
            "--loss",
            &number(case.loss),
            "--limit",
            &number(LIMIT.as_secs()),
        ],
    )?;
    let mut report: Value = serde_json::from_str(said.trim()).context("the generator's report")?;
    report["server_seconds"] = (figures::processor_seconds(process.pid()) - before).into();
    process.stop()?;
    Ok(report)
}
