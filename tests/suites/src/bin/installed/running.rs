//! Transfers that run while the service restarts, or while the time of day is set.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use pxe_kit::command::output;
use pxe_kit::daemon::ask;
use pxe_kit::{clock, namespace, tree};
use pxe_tests::machine;
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime, clock_settime};

use crate::cases::{CONFIG, LATER, NAMESPACE, SERVER};
use crate::service::{LIMIT, PACKAGE, begin, journal, main_pid, property};

/// The file of the transfers. In curl's blocks of 512 bytes, it takes half a minute in an emulated machine.
pub(crate) const FILE: &str = "large.efi";
pub(crate) const FILE_LEN: usize = 4 << 20;
/// The restart begins after this number of bytes.
const BEGUN: u64 = 256 << 10;
const LOADED: &str = "/tmp/loaded";

/// A transfer continues over `systemctl restart`.
pub(crate) fn over_a_restart() -> Result<String> {
    over(|_, _| begin("restart"))
}

/// A transfer continues over an upgrade of the package, here to the same version. As with apt, the package is unpacked
/// first, and configured later.
pub(crate) fn over_an_upgrade() -> Result<String> {
    output(Command::new("dpkg").args(["--unpack", PACKAGE]))?;
    // Run the new program once before. The emulator translates code at its first use, which would lengthen the gap.
    output(Command::new("pxed").args(["check", "--config", CONFIG]))?;
    over(|machine, before| {
        // Stop curl until the service ends: the package's scripts are slow here, and the transfer would end before.
        machine.signal(Signal::STOP)?;
        let mut dpkg = Command::new("dpkg").args(["--configure", "pxed"]).spawn()?;
        let process = format!("/proc/{before}");
        let has_ended = || Ok(!Path::new(&process).exists());
        clock::wait_until("the service is restarted", LIMIT, has_ended)?;
        machine.signal(Signal::CONT)?;
        ensure!(dpkg.wait()?.success(), "dpkg failed");
        Ok(())
    })
}

/// Starts a transfer, calls `restart` with the machine and the daemon's process ID, and checks that the transfer was
/// resumed.
fn over(restart: impl FnOnce(&Machine, u32) -> Result<()>) -> Result<String> {
    let before = main_pid()?;
    let mut machine = Machine::load()?;
    let len = || fs::metadata(LOADED).map_or(0, |metadata| metadata.len());
    clock::wait_until("the transfer is under way", LIMIT, || Ok(len() > BEGUN))?;
    let begun = clock::now();
    restart(&machine, before)?;
    let (took, loaded) = (begun.elapsed().as_millis(), len());
    ensure!(main_pid()? != before, "the same process");
    ensure!(
        machine.0.try_wait()?.is_none() && loaded < FILE_LEN as u64,
        "the transfer ended before the restart: use a larger file"
    );
    let ended = machine.0.wait_with_output()?;
    let error = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "curl: {error}; {}", journal()?);
    ensure!(fs::read(LOADED)? == tree::bytes(FILE_LEN), "the received file differs");
    fs::remove_file(LOADED)?;
    // The daemon publishes its counters twice a second.
    let is_so = || Ok(count("tftp_complete")? == 1);
    clock::wait_until("the transfer is counted", LIMIT, is_so)
        .with_context(|| journal().unwrap_or_default())?;
    ensure!(count("tftp_resumed")? == 1 && count("tftp_requests")? == 0, "not resumed: {}", journal()?);
    let kept = property("NFileDescriptorStore")?;
    ensure!(kept == "0", "systemd still keeps {kept} descriptors");
    Ok(format!("ok: {took} ms; {}", took_over()?))
}

/// The time of day is set during transfers: back by a day, ahead by a year, and back to the start. Transfers continue, the
/// daemon answers, and the history keeps its entries.
pub(crate) fn while_the_clock_is_set() -> Result<String> {
    const DAY: i64 = 24 * 3600;
    let before = main_pid()?;
    let transfers = || anyhow::Ok((count("tftp_requests")?, count("tftp_complete")?));
    let (requests, complete) = transfers()?;
    let known = steps()?;
    ensure!(!known.is_empty(), "the history is empty: {}", journal()?);
    // Transfers one after the other, until the clock has been set. Not with curl, whose own time-outs use the time of day.
    let is_over = AtomicBool::new(false);
    let load = || -> Result<u64> {
        namespace::enter(NAMESPACE)?;
        let mut count = 0;
        while !is_over.load(Ordering::Relaxed) {
            ensure!(
                machine::load_in_lock_step(LATER, FILE)? == tree::bytes(FILE_LEN),
                "the received file differs"
            );
            count += 1;
        }
        Ok(count)
    };
    let set = || -> Result<()> {
        clock::wait_until("a transfer is under way", LIMIT, || Ok(transfers()?.0 > requests))?;
        for days in [-1, 367, -366] {
            set_clock(days * DAY)?;
            // Long enough for timers of a second or two to expire.
            std::thread::sleep(Duration::from_secs(2));
        }
        Ok(())
    };
    let (set, loaded) = std::thread::scope(|scope| {
        let machine = scope.spawn(load);
        let set = set();
        is_over.store(true, Ordering::Relaxed);
        (set, machine.join())
    });
    set?;
    let loaded = loaded.map_err(|_| anyhow!("the machine panicked"))?;
    let loaded = loaded.with_context(|| journal().unwrap_or_default())?;
    let is_so = || Ok(transfers()? == (requests + loaded, complete + loaded));
    clock::wait_until("each transfer is counted once", LIMIT, is_so)?;
    ensure!(main_pid()? == before, "another process: {}", journal()?);
    output(Command::new("pxed").args(["status", "--json"]))?;
    let now = steps()?;
    ensure!(known.iter().all(|step| now.contains(step)), "steps are missing: {known:?}, {now:?}");
    Ok("ok".into())
}

/// The steps in the ledger, one JSON line each.
fn steps() -> Result<Vec<String>> {
    let shown = ask(Path::new("/run/pxed/pxed.sock"), "/api/v1/steps?limit=10000")?;
    Ok(shown.lines().filter(|line| line.starts_with('{')).map(str::to_owned).collect())
}

/// Moves the time of day by a number of seconds.
fn set_clock(by: i64) -> Result<()> {
    let mut now = clock_gettime(ClockId::Realtime);
    now.tv_sec += by;
    Ok(clock_settime(ClockId::Realtime, now)?)
}

/// The value of one of the daemon's counters.
fn count(label: &str) -> Result<u64> {
    let shown = ask(Path::new("/run/pxed/pxed.sock"), "/metrics")?;
    let label = format!("event=\"{label}\"");
    let line = shown.lines().find(|line| line.starts_with("pxed_events_total") && line.contains(&label));
    let value = line.and_then(|line| line.split_whitespace().last()).context("no such counter")?;
    Ok(value.parse()?)
}

/// The log line with the length of the gap.
fn took_over() -> Result<String> {
    let said = journal()?;
    let line = said.lines().rev().find(|line| line.contains("took_over"));
    Ok(line.with_context(|| format!("no `took_over` in the journal: {said}"))?.to_owned())
}

/// A running curl that loads the file, in the machine's namespace.
struct Machine(Child);

impl Machine {
    fn load() -> Result<Self> {
        let url = format!("tftp://{SERVER}/{FILE}");
        let mut curl = Command::new("/bin/ip");
        curl.args([
            "netns",
            "exec",
            NAMESPACE,
            "curl",
            "--silent",
            "--show-error",
            "--no-buffer",
            "--max-time",
            "150",
            "--output",
            LOADED,
        ]);
        Ok(Self(curl.arg(url).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.0.id().try_into()?).context("no process")?;
        Ok(kill_process(pid, signal)?)
    }
}
