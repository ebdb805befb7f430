//! `cargo xtask fleet`: five machines in a lab, each booted by its own rule, and the board with their states.
//!
//! | machine | matched by | boots |
//! |---|---|---|
//! | bios | firmware | memtest86+ over PXE |
//! | uefi | firmware | memtest86+ over PXE |
//! | http | firmware | memtest86+ over UEFI HTTP boot |
//! | once | Ethernet address, `once` | memtest86+, and its own disk the next time |
//! | bad | Ethernet address | the memory test that reports; bits of its memory are flipped meanwhile, and the verdict is FAIL |
//!
//! At the end, a browser takes pictures of the board, and the states are compared between `pxed status --json`, the API and
//! the metrics. The test `fleet` calls [`show`], too.

mod disk;
mod facts;
mod picture;
mod scene;
mod spoil;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use pxe_guests::image;
use pxe_kit::{Lab, Process, clock, command};
use serde_json::Value;

use crate::{BootOutcome, MachineSpec};
pub use facts::{Facts, text};
use picture::Browser;
pub use picture::{BROWSERS, DRIVERS};
pub use scene::{BOARD, HTTP_PORT};
pub use spoil::Flip;

/// The limit for the daemon's start, and for the delay until it shows an event.
const PATIENCE: Duration = Duration::from_secs(60);

/// The results of a run.
#[derive(Debug)]
pub struct Shown {
    /// `pxed status --json` at the end.
    pub facts: Facts,
    /// The bits that were flipped in the bad machine's memory.
    pub flips: Vec<Flip>,
    /// The picture of the board.
    pub picture: PathBuf,
    /// The table of `pxed status`.
    pub table: String,
}

/// Builds pxed, and runs [`as_root`] as root.
///
/// # Errors
/// As for [`show`].
pub fn run() -> Result<()> {
    // Before the change to root, so that the download goes into this user's cache.
    image::kernel()?;
    let pxed = command::build_pxed(command::Profile::Dev)?;
    if !command::is_root() {
        return command::again_as_root("fleet", Some(&pxed), &[]);
    }
    as_root(&pxed)
}

/// Calls [`show`] with a built daemon, and prints the results. Needs root.
///
/// # Errors
/// As for [`show`].
pub fn as_root(pxed: &Path) -> Result<()> {
    let out = command::workspace().join("out/fleet");
    let shown = show(pxed, &out, |line| println!("fleet: {line}"));
    command::give_back(&out);
    let shown = shown?;
    println!("\n{}", shown.table);
    println!("the board: {}", shown.picture.display());
    println!("the answers of status --json, the API and the metrics: {}", out.display());
    Ok(())
}

/// Boots the machines, and compares the board with what they did. `say` gets a line for each step. Pictures, logs and
/// answers go to `out`.
///
/// # Errors
/// If something is missing, or the board shows anything else than expected.
pub fn show(pxed: &Path, out: &Path, say: impl Fn(&str) + Sync) -> Result<Shown> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    say("building the memory test");
    let image = out.join("image");
    image::build(&image)?;
    let lab = Lab::builder().machines(scene::MACHINES).logs(out).start()?;
    let daemon = start(&lab, pxed, &image)?;
    let machines = scene::machines(&lab, out)?;

    say("four machines boot, by four rules");
    boot_all(&lab, &machines.first, &say)?;
    wait_for(&lab, pxed, "four machines run", |facts| {
        machines.first.iter().all(|spec| facts.state(&spec.mac()) == Some("running"))
    })?;

    say("one of them is switched on again: it must now boot its own disk");
    boot_all(&lab, std::slice::from_ref(&machines.once_again), &say)?;
    let once = machines.once_again.mac();
    wait_for(&lab, pxed, "the machine boots its disk", |facts| facts.state(&once) == Some("local"))?;

    say("the fifth machine tests its memory, while bits are flipped in it");
    let bad = machines.bad.mac();
    let flips = spoil::boot_and_spoil(&lab, &machines.bad, || {
        Facts::by_status(&lab, pxed).is_ok_and(|facts| facts.state(&bad) == Some("failed"))
    })?;
    wait_for(&lab, pxed, "the bad memory is shown", |facts| facts.state(&bad) == Some("failed"))?;

    say("a browser opens the board");
    let picture = look(&lab, out, &Facts::by_status(&lab, pxed)?, &bad)?;
    let facts = the_same_three_times(&lab, pxed, out)?;
    let table = text(&lab, pxed, &["status", "--socket", &scene::socket(&lab)])?;
    fs::write(out.join("status.txt"), &table)?;
    check(&facts, &machines, &flips)?;
    let status = daemon.stop()?;
    ensure!(status.success(), "pxed ended with {status}: {}", daemon.last_words());
    Ok(Shown { facts, flips, picture, table })
}

fn start(lab: &Lab, pxed: &Path, image: &Path) -> Result<Process> {
    let config = lab.folder().join("pxed.toml");
    fs::write(&config, scene::config(lab, image))?;
    let mut daemon = lab.responder().command(&pxed.to_string_lossy());
    daemon.args(["serve", "--log-format", "json", "--config"]).arg(&config);
    let daemon = lab.spawn("pxed", daemon)?;
    daemon.wait_for("ready", PATIENCE).context("pxed does not serve")?;
    Ok(daemon)
}

/// Boots all machines at the same time. Fails if one does not show what its `MachineSpec` expects.
fn boot_all(lab: &Lab, machines: &[MachineSpec], say: &(impl Fn(&str) + Sync)) -> Result<()> {
    let boot = |spec: &MachineSpec| -> Result<BootOutcome> { crate::boot(lab, spec, |_| {}) };
    let outcomes: Vec<Result<BootOutcome>> = thread::scope(|scope| {
        let threads: Vec<_> = machines.iter().map(|spec| scope.spawn(move || boot(spec))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| bail!("a machine's thread failed"))
        };
        threads.into_iter().map(join).collect()
    });
    for (spec, outcome) in machines.iter().zip(outcomes) {
        let outcome = outcome?;
        ensure!(outcome.booted, "{}: {}\n{}", spec.name, outcome.reason, outcome.screen);
        say(&format!("{:<5} {:5.1} s  {}", spec.name, outcome.elapsed.as_secs_f64(), outcome.reason));
    }
    Ok(())
}

/// Waits until the daemon's status meets a condition. It may be a moment behind a machine's screen.
fn wait_for(lab: &Lab, pxed: &Path, what: &str, is_so: impl Fn(&Facts) -> bool) -> Result<()> {
    let looked = clock::wait_until(what, PATIENCE, || Ok(is_so(&Facts::by_status(lab, pxed)?)));
    looked.with_context(|| match Facts::by_status(lab, pxed) {
        Ok(facts) => format!("`pxed status` prints:\n{:#}", facts.0),
        Err(error) => format!("{error:#}"),
    })
}

/// Opens the page in a browser, and takes pictures. The page must show every machine, and the first address of the bad one,
/// and no script may fail.
fn look(lab: &Lab, out: &Path, facts: &Facts, bad: &str) -> Result<PathBuf> {
    let browser = Browser::start(lab)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut words: Vec<String> = facts.machines().iter().map(|machine| text(&machine["mac"])).collect();
    let address = facts.machine(bad).map(|machine| text(&machine["verdict"]["first_errors"][0]["address"]));
    words.extend(address);
    browser.open("", &words)?;
    let picture = browser.picture(&out.join("board.png"))?;
    browser.open(&format!("#/m/{bad}"), &words[words.len() - 1..])?;
    browser.picture(&out.join("machine.png"))?;
    let title = browser.run("return document.title")?;
    ensure!(
        title.as_str().is_some_and(|title| title.contains('1')),
        "the title does not count the bad one: {title}"
    );
    let complaints = browser.complaints()?;
    ensure!(complaints.is_empty(), "errors in the browser's console: {complaints:#?}");
    Ok(picture)
}

/// Reads the states by `pxed status`, the API and the metrics, and compares them.
fn the_same_three_times(lab: &Lab, pxed: &Path, out: &Path) -> Result<Facts> {
    let (status, api) = (Facts::by_status(lab, pxed)?, Facts::by_api(lab)?);
    let metrics = facts::metrics(lab)?;
    fs::write(out.join("status.json"), format!("{:#}\n", status.0))?;
    fs::write(out.join("api.json"), format!("{:#}\n", api.0))?;
    fs::write(out.join("metrics.txt"), &metrics)?;
    let stories = |facts: &Facts| -> Vec<(String, Value, Value)> {
        let each = facts.machines().iter();
        let story = |machine: &Value| {
            let mac = machine["mac"].as_str().unwrap_or_default().to_owned();
            (mac, machine["state"].clone(), machine["verdict"]["first_errors"].clone())
        };
        let mut all: Vec<_> = each.map(story).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    ensure!(stories(&status) == stories(&api), "`pxed status` and the API differ:\n{}\n{}", status.0, api.0);
    for (state, count) in status.totals() {
        // In OpenMetrics, gauges have a fraction.
        let line = format!("pxed_machines{{state=\"{state}\"}} {count}.0");
        ensure!(metrics.lines().any(|l| l == line), "`{line}` is missing in the metrics:\n{metrics}");
    }
    Ok(status)
}

/// Checks that each machine got its rule, and that the verdict on the bad machine names exactly the bits that were flipped.
fn check(facts: &Facts, machines: &scene::Machines, flips: &[Flip]) -> Result<()> {
    for (spec, rule) in machines.first.iter().zip(scene::RULES) {
        let machine =
            facts.machine(&spec.mac()).with_context(|| format!("{} is not on the board", spec.name))?;
        ensure!(machine["rule"] == rule, "{}: {machine}", spec.name);
        ensure!(machine["completed"].as_u64() == Some(1), "{}: {machine}", spec.name);
    }
    let bad = facts.machine(&machines.bad.mac()).context("the bad machine is not on the board")?;
    ensure!(bad["verdict"]["outcome"] == "fail", "{bad}");
    let errors = bad["verdict"]["first_errors"].as_array().cloned().unwrap_or_default();
    ensure!(!errors.is_empty(), "{bad}");
    for error in &errors {
        let number = |name: &str| {
            let text = error[name].as_str().unwrap_or_default();
            u64::from_str_radix(text.trim_start_matches("0x"), 16)
        };
        let (address, bits) = (number("address")?, number("expected")? ^ number("actual")?);
        // The eight bytes differ only in the bit that was flipped.
        let is_ours = |flip: &Flip| {
            flip.address == address && bits == 1 << (8 * (flip.address % 8) + u64::from(flip.bit))
        };
        ensure!(flips.iter().any(is_ours), "{error} is none of the flipped bits: {flips:x?}");
    }
    let why = bad["why"].as_str().unwrap_or_default();
    let named =
        errors.iter().filter_map(|error| error["address"].as_str()).any(|address| why.contains(address));
    ensure!(named, "the board does not name the address: {why}");
    Ok(())
}
