//! `cargo xtask run` without an interface: a BIOS and a UEFI machine boot at the same time in a lab with an ordinary DHCP
//! server.

mod fetched;
mod show;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pxe_kit::{Lab, Process, Reference, command};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::{BootOutcome, Firmware, MachineSpec};
use fetched::{Fetched, Follower};
use show::Show;

/// The limit for the daemon's start.
const READY: Duration = Duration::from_secs(15);

/// Boots both machines from `pxed`, or from dnsmasq if there is no `pxed`, and prints a table of what they fetched.
///
/// # Errors
/// If the lab cannot be made, the responder does not serve, or a machine does not reach memtest86+.
pub fn run(pxed: Option<&Path>, arguments: &[OsString]) -> Result<()> {
    let out = command::workspace().join("out/run");
    let mut specs =
        [MachineSpec::new("bios", Firmware::Bios, 0), MachineSpec::new("uefi", Firmware::Uefi, 1)];
    for spec in &mut specs {
        spec.pictures = Some(out.join(&spec.name));
        spec.linger = Duration::from_secs(2);
    }
    println!(
        "run: a switch, a DHCP server and two machines in network namespaces; logs in {}",
        out.display()
    );
    let _claim = claim(&out)?;
    let done = in_lab(&specs, &out, pxed, arguments);
    command::give_back(&out);
    let (outcomes, fetched, log) = done?;

    println!("{}", show::table(&specs, &outcomes, &fetched));
    for (spec, outcome) in specs.iter().zip(&outcomes) {
        println!("{}: {}", spec.name, outcome.reason);
        if let Some(picture) = &outcome.picture {
            println!("{}: its screen is in {}", spec.name, picture.display());
        }
    }
    if outcomes.iter().all(|o| o.booted) {
        println!("every machine runs memtest86+");
        return Ok(());
    }
    let lost: Vec<_> =
        specs.iter().zip(&outcomes).filter(|(_, o)| !o.booted).map(|(s, _)| &*s.name).collect();
    bail!("these machines do not run memtest86+: {}. The responder's log: {}", lost.join(", "), log.display())
}

/// Makes a folder and locks it, so that two runs do not mix their pictures and logs.
fn claim(folder: &Path) -> Result<fs::File> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let claim = fs::File::open(folder)?;
    match flock(&claim, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            bail!("another `cargo xtask run` uses {}: wait for its end", folder.display())
        }
        locked => locked.with_context(|| format!("cannot lock {}", folder.display()))?,
    }
    Ok(claim)
}

type Done = (Vec<BootOutcome>, Vec<Fetched>, PathBuf);

fn in_lab(specs: &[MachineSpec], out: &Path, pxed: Option<&Path>, arguments: &[OsString]) -> Result<Done> {
    let lab = Lab::builder().machines(specs.len()).logs(out).start()?;
    let serving = match pxed {
        Some(pxed) => Serving::Pxed(start_pxed(&lab, pxed, arguments)?),
        None => Serving::Dnsmasq(Reference::start(&lab)?),
    };
    let log = serving.process().stderr_file().to_owned();
    let show = Show::new(specs);
    let fetched = Mutex::new(Follower::new(&lab, &serving));
    let outcomes = boot_all(&lab, specs, &show, &fetched);
    show.close();
    let mut follower = fetched.into_inner().unwrap_or_else(PoisonError::into_inner);
    follower.catch_up();
    let fetched = follower.all();
    if let Serving::Pxed(process) = &serving {
        let status = process.stop()?;
        if !status.success() {
            println!("run: pxed ended with {status}: {}", process.last_words());
        }
    }
    Ok((outcomes?, fetched, log))
}

/// Boots all machines at the same time.
fn boot_all(
    lab: &Lab,
    specs: &[MachineSpec],
    show: &Show,
    fetched: &Mutex<Follower>,
) -> Result<Vec<BootOutcome>> {
    let boot = |number: usize, spec: &MachineSpec| {
        let outcome = crate::boot(lab, spec, |progress| {
            let mut follower = fetched.lock().unwrap_or_else(PoisonError::into_inner);
            follower.catch_up();
            show.update(number, progress, follower.bytes(&spec.mac()));
        });
        show.finish(number, outcome.as_ref().is_ok_and(|o| o.booted));
        outcome
    };
    let boot_one = &boot;
    thread::scope(|scope| {
        let start = |(number, spec)| scope.spawn(move || boot_one(number, spec));
        let threads: Vec<_> = specs.iter().enumerate().map(start).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| bail!("a machine's thread failed"))).collect()
    })
}

/// The responder of a run.
enum Serving {
    Pxed(Process),
    Dnsmasq(Reference),
}

impl Serving {
    fn process(&self) -> &Process {
        match self {
            Self::Pxed(process) => process,
            Self::Dnsmasq(reference) => reference.process(),
        }
    }
}

fn start_pxed(lab: &Lab, pxed: &Path, arguments: &[OsString]) -> Result<Process> {
    let host = lab.responder();
    let mut daemon: Command = host.command(&pxed.to_string_lossy());
    daemon.args(["serve", "--interface", host.interface(), "--log-format", "json"]).args(arguments);
    // Network namespaces do not separate the paths of sockets, so another daemon may use the default path.
    if !arguments.iter().any(|argument| argument.to_string_lossy().starts_with("--socket")) {
        daemon.arg("--socket").arg(lab.folder().join("pxed.sock"));
    }
    let process = lab.spawn("pxed", daemon)?;
    process.wait_for("ready", READY).context("pxed does not serve")?;
    Ok(process)
}
