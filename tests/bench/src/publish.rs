//! The results as files: samples, pictures, and a page.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::Results;
use super::cable::Setup;
use super::cases::Form;
use super::figures::Sample;
use super::plot;
use super::show::{self, Look};

/// What is said under the tables of one set-up and the other.
fn footnote(setup: Setup) -> &'static str {
    match setup {
        Setup::Plain => {
            "In a plain veth the sender's core does the receiver's work: a part of the server's processor time is the \
             machines' receiving, and what the server's own receiving costs is in the generator's. `irq` is not known."
        }
        Setup::TwoMachines => {
            "`irq` is the time of the server's receiving thread (napi/srv0). It and the responder share one core; the \
             generator and its receiving thread another."
        }
    }
}

const LEGEND: &str = "Medians over the rounds; ratios are medians of each round's own ratio, with their range. MB are 10^6 bytes. \
    `fail/RRQ/other`: machines that failed, requests for a file that machines repeated, other packets that they repeated. \
    `MB` is the responder's memory at its peak with the files that it has mapped. `of limit`: over the program at the same \
    hook that only copies. `gen` is the generator's share of a core: above 0.85 it is the generator that is measured. `answered`: strangers who got something; `bytes per \
    byte`: what the one who got the most of them got for each byte of his request; `to services`: packets to ports of services; `tasks`: threads and processes; `rights`: the \
    most that one of its threads may while it serves.";

/// Prints everything.
pub(super) fn print(results: &Results) {
    for block in show::cases(Look::Terminal, &results.cases, &results.samples, &results.absent) {
        println!("\n{}\n{}", block.title, block.table);
        for note in block.notes {
            println!("  {note}");
        }
    }
    println!("\n{LEGEND}\n{}", footnote(results.setup));
    println!("\nTargets\n{}", show::targets(Look::Terminal, &results.judged()));
    for (name, fact) in &results.machine.0 {
        println!("{name}: {fact}");
    }
}

/// Writes `samples.json`.
pub(super) fn samples(results: &Results, folder: &Path) -> Result<()> {
    let samples: Vec<_> = results.samples.0.iter().map(Sample::to_json).collect();
    let all = json!({ "machine": results.machine.to_json(), "samples": samples });
    write(&folder.join("samples.json"), &serde_json::to_string_pretty(&all)?)
}

/// Writes the pictures and `results.md`.
pub(super) fn page(results: &Results, folder: &Path) -> Result<()> {
    let pictures = match results.form {
        // Few figures, and most of them zero.
        Form::Faults | Form::FaultsShort => Vec::new(),
        Form::Check | Form::Short | Form::Targets | Form::Full => {
            plot::all(&results.cases, &results.samples)?
        }
    };
    for picture in &pictures {
        write(&folder.join(picture.file), &picture.svg)?;
    }
    let (command, explained) = match results.form {
        Form::Faults | Form::FaultsShort => ("--faults --publish", "../reliability.md"),
        Form::Check | Form::Short | Form::Targets | Form::Full => ("--publish", "README.md"),
    };
    let mut page = format!(
        "# Results\n\nWritten by `cargo xtask bench {command}`; [how to read them]({explained}).\n\n| | |\n|---|---|\n"
    );
    for (name, fact) in &results.machine.0 {
        writeln!(page, "| {name} | {} |", fact.replace('|', "/"))?;
    }
    writeln!(page, "\n## Targets\n\n{}\n", show::targets(Look::Markdown, &results.judged()))?;
    for picture in &pictures {
        writeln!(page, "![{}]({})\n", picture.title, picture.file)?;
    }
    writeln!(page, "## Cases\n\n{LEGEND}\n\n{}", footnote(results.setup))?;
    for block in show::cases(Look::Markdown, &results.cases, &results.samples, &results.absent) {
        writeln!(page, "\n### {}\n\n{}", block.title, block.table)?;
        if !block.notes.is_empty() {
            writeln!(page)?;
        }
        for note in block.notes {
            writeln!(page, "- {note}")?;
        }
    }
    write(&folder.join("results.md"), &page)
}

fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
