//! The benchmark: the daemon over each datapath and what a user would take instead, in turn, under one load generator.
//!
//! ```text
//! cases       what is measured: who boots what, and who takes part
//! faults      what goes wrong meanwhile, and how it is brought about
//! responders  who is measured, and how each is started
//! peers       what a user would take instead, fetched and not installed
//! cable       the two hosts, and which processor does whose work
//! generator   the load generator's command line and reports
//! stream      what others get through the interface
//! programs    what its kernel programs cost for each packet
//! awake       keeps idle processors from halting
//! account     processor time and memory of a responder
//! rights      what it may do while it serves
//! run         one sample: start, load, look, stop
//! figures     what is computed of the samples
//! targets     what is aimed at, and whether it is met
//! show        tables
//! plot        pictures
//! publish     the results as files
//! machine     what it was measured on
//! ```
//!
//! `Form::Faults` measures what becomes of machines when something goes wrong: docs/reliability.md.
//!
//! Each round runs every responder once (A B C A B C), so that a noisy moment hits all alike; figures are medians over
//! the rounds, ratios are medians of each round's own ratio to the reference. The generator compares every byte; where the
//! kernel plays its machines (`generator::options`), number and length of each block, and every byte of one of 16.

mod account;
mod awake;
mod cable;
mod cases;
mod faults;
mod figures;
mod generator;
mod machine;
mod peers;
mod plot;
mod programs;
mod publish;
mod responders;
mod rights;
mod run;
mod show;
mod stream;
mod targets;

use std::env;
use std::fs::File as LockFile;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use pxe_kit::command;
use rustix::fs::{FlockOperation, flock};
use serde_json::json;

pub use cable::Setup;
pub use cases::{Case, Form, Play};
pub use faults::{Fault, Flood, Noise};
pub use figures::{Figure, Sample, Samples, Spread};
pub use machine::Machine;
pub use responders::{RESPONDERS, Responder, Who};
pub use show::{Absent, Block, Look};
pub use targets::{TARGETS, TargetResult};

use awake::Awake;
use cable::Cable;
use peers::{Peer, Peers};
use run::Ground;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Which cases.
    pub form: Form,
    /// Only those with this in their names.
    pub filter: Option<String>,
    /// How often.
    pub rounds: usize,
    /// How the hosts share the processors.
    pub setup: Setup,
    /// Judge also what the generator limits.
    pub judge_limited: bool,
    /// The folder with the programs pxed and load.
    pub programs: PathBuf,
}

impl Wish {
    /// What a user would take instead, as far as it is measured; nothing is fetched for the short forms.
    fn peers(&self) -> Result<Peers> {
        if matches!(self.form, Form::Check | Form::Short | Form::FaultsShort) {
            return Ok(Peers::none());
        }
        let cases = cases::cases(self.form, self.filter.as_deref());
        let who = cases.iter().flat_map(|case| case.who);
        let named: Vec<_> = who.filter_map(|who| who.responder().peer()).collect();
        let wanted: Vec<_> = Peer::ALL.into_iter().filter(|peer| named.contains(peer)).collect();
        Peers::fetch(&wanted)
    }
}

/// What came out.
#[derive(Debug)]
pub struct Results {
    /// How much was wanted.
    pub form: Form,
    /// The cases that were run.
    pub cases: Vec<Case>,
    /// Everything that was measured.
    pub samples: Samples,
    /// Who could not be measured, and why.
    pub absent: Vec<Absent>,
    /// How the hosts shared the processors.
    pub setup: Setup,
    /// Judge also what the generator limits.
    pub judge_limited: bool,
    /// On what.
    pub machine: Machine,
}

impl Results {
    /// The targets of the cases that were run, judged.
    #[must_use]
    pub fn judged(&self) -> Vec<TargetResult> {
        let mut judged = targets::judge(&self.samples, self.judge_limited);
        judged.retain(|result| self.cases.iter().any(|case| case.name() == result.case));
        judged
    }

    /// The cases' tables.
    #[must_use]
    pub fn tables(&self, look: Look) -> Vec<Block> {
        show::cases(look, &self.cases, &self.samples, &self.absent)
    }

    /// Writes the samples, the pictures and the page that shows them into a folder.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub fn write(&self, folder: &Path) -> Result<()> {
        publish::samples(self, folder)?;
        publish::page(self, folder)
    }
}

/// Builds, measures, prints, and writes to `out/bench`; with `publish` also to the form's folder in `docs`. All but the
/// measuring is done by whoever calls it, that as root: through sudo, with `built` to say that it is built.
///
/// # Errors
/// When something is missing.
pub fn run(wish: &Wish, publish: bool, built: bool) -> Result<()> {
    if !built {
        prepare("load")?;
    }
    if !command::is_root() {
        // As the user whose cache it is.
        wish.peers()?;
        let mut again = command::as_root("env")?;
        again.args(command::kept_environment()).arg(env::current_exe()?).args(env::args_os().skip(1));
        return command::run(again.arg("--built"));
    }
    let results = measure(wish)?;
    publish::print(&results);
    let out = command::workspace().join("out/bench");
    results.write(&out)?;
    println!("results: {}", out.display());
    if publish {
        // Without the samples: they are many, and nobody reads them there.
        let docs = command::workspace().join(wish.form.docs());
        publish::page(&results, &docs)?;
        println!("results: {}", docs.display());
    }
    Ok(())
}

/// Builds (release) the daemon and the program of pxe-load that loads it. Only these: each is
/// optimised, which takes minutes.
///
/// # Errors
/// When something is missing, or does not compile.
pub fn prepare(program: &str) -> Result<()> {
    println!("{program}: cargo builds pxed and {program} (release); the first time that takes some minutes");
    // No package is named, as for all builds: another selection has other features, and builds what is shared anew.
    command::run(command::cargo().args(["build", "--release", "--bin", "pxed", "--bin", program]))
}

/// Measures all that is wished for.
///
/// # Errors
/// Without root, or when a tool is missing. What fails under load is no error but a sample that says so.
pub fn measure(wish: &Wish) -> Result<Results> {
    let cases = cases::cases(wish.form, wish.filter.as_deref());
    let named = || wish.filter.clone().unwrap_or_default();
    ensure!(!cases.is_empty(), "no case has `{}` in its name", named());
    let _lock = alone()?;
    let awake = Awake::ask();
    let peers = wish.peers()?;
    let cable = Cable::new(wish.setup)?;
    let root = files(cable.lab.folder(), &cases)?;
    let mut ground = Ground { cable, root, programs: wish.programs.clone(), peers };
    ground.check()?;
    if let Some(note) = &ground.cable.note {
        println!("bench: {note}");
    }
    let absent: Vec<Absent> = RESPONDERS
        .iter()
        .filter_map(|responder| Some((responder.who, responder.missing(&ground.peers)?)))
        .collect();
    let machine = Machine::here(&ground.cable, &awake, &ground.peers, wish.rounds);
    let samples = Samples::default();
    let setup = ground.cable.setup;
    let judge_limited = wish.judge_limited;
    let mut results = Results { form: wish.form, cases, samples, absent, setup, judge_limited, machine };
    rounds(wish.rounds, &mut results, &ground)?;
    Ok(results)
}

/// Measures round after round. After each, what there is so far is written, so that an interruption loses one at the most.
fn rounds(rounds: usize, results: &mut Results, ground: &Ground) -> Result<()> {
    let (cases, absent) = (&results.cases, &results.absent);
    let takes_part = |case: &Case, who: Who| {
        absent.iter().all(|(other, _)| *other != who) && who.responder().cannot(case).is_none()
    };
    let runs: Vec<(&Case, Who)> = cases
        .iter()
        .flat_map(|case| case.who.iter().map(move |&who| (case, who)))
        .filter(|(case, who)| takes_part(case, *who))
        .collect();
    let bar = ProgressBar::new((rounds * runs.len()) as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len}, {eta} left: {wide_msg}")?);
    for round in 0..rounds {
        for (case, who) in &runs {
            let what = format!("round {}: {}: {}", round + 1, case.name(), who.title());
            if bar.is_hidden() {
                println!("{what}");
            }
            bar.set_message(what.clone());
            let report = ground.sample(case, *who).unwrap_or_else(|error| {
                bar.suspend(|| println!("{what}: {error:#}"));
                json!({ "error": format!("{error:#}") })
            });
            results.samples.0.push(Sample::new(case, *who, round, report));
            bar.inc(1);
        }
        publish::samples(results, &command::workspace().join("out/bench"))?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Two benchmarks at a time would measure each other.
fn alone() -> Result<LockFile> {
    let path = std::env::temp_dir().join("pxed-bench.lock");
    let lock = LockFile::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        println!("bench: waits for the end of another one on this machine");
        flock(&lock, FlockOperation::LockExclusive)
            .with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(lock)
}

/// Writes what the cases load; the largest file takes seconds.
fn files(folder: &Path, cases: &[Case]) -> Result<PathBuf> {
    let root = folder.join("bench-root");
    std::fs::create_dir_all(&root)?;
    for file in cases::File::ALL {
        if file != cases::File::Huge || cases.iter().any(|case| case.file() == file) {
            file.write(&root)?;
        }
    }
    Peers::configure(&root)?;
    faults::Versions::of(&root).write(&root, cases::File::Medium)?;
    Ok(root)
}
