//! Transfers that are running while the service is restarted, or the time of day is set.

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

/// What the machine loads, in curl's blocks of 512 bytes: half a minute in an emulated machine.
pub(crate) const FILE: &str = "large.efi";
pub(crate) const FILE_LEN: usize = 4 << 20;
/// Has come before the restart.
const BEGUN: u64 = 256 << 10;
const LOADED: &str = "/tmp/loaded";

/// `systemctl restart` in the middle of a transfer: it goes on.
pub(crate) fn over_a_restart() -> Result<String> {
    over(|_, _| begin("restart"))
}

/// The same for the package's upgrade, here to the same version. As apt does it: unpacked first, and configured later.
pub(crate) fn over_an_upgrade() -> Result<String> {
    output(Command::new("dpkg").args(["--unpack", PACKAGE]))?;
    // An emulator is slow at what it has never run: this is no part of the gap on a real machine.
    output(Command::new("pxed").args(["check", "--config", CONFIG]))?;
    over(|machine, before| {
        // It would be through before the scripts of the package are, which take long here. So it waits until the service ends.
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

/// `restart` gets the machine, and the process that is to end.
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
        "it had ended before: a larger file is needed"
    );
    let ended = machine.0.wait_with_output()?;
    let error = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "curl: {error}; {}", journal()?);
    ensure!(fs::read(LOADED)? == tree::bytes(FILE_LEN), "other bytes came");
    fs::remove_file(LOADED)?;
    // Shown twice a second.
    let is_so = || Ok(count("tftp_complete")? == 1);
    clock::wait_until("the transfer is counted", LIMIT, is_so)
        .with_context(|| journal().unwrap_or_default())?;
    ensure!(count("tftp_resumed")? == 1 && count("tftp_requests")? == 0, "it began again: {}", journal()?);
    let kept = property("NFileDescriptorStore")?;
    ensure!(kept == "0", "systemd still keeps {kept} descriptors");
    Ok(format!("ok: {took} ms; {}", took_over()?))
}

/// The time of day is set in the middle of a transfer, by a day back, a year ahead, and to what it was: the transfer goes on, nobody
/// is given up, nothing that was written down is forgotten, and the daemon answers.
pub(crate) fn while_the_clock_is_set() -> Result<String> {
    const DAY: i64 = 24 * 3600;
    let before = main_pid()?;
    let transfers = || anyhow::Ok((count("tftp_requests")?, count("tftp_complete")?));
    let (requests, complete) = transfers()?;
    let known = steps()?;
    ensure!(!known.is_empty(), "nothing is written down: {}", journal()?);
    // One after the other until the clock has been set, however fast this machine is. Not curl: that measures its own patience by the
    // time of day.
    let is_over = AtomicBool::new(false);
    let load = || -> Result<u64> {
        namespace::enter(NAMESPACE)?;
        let mut count = 0;
        while !is_over.load(Ordering::Relaxed) {
            ensure!(machine::load_in_lock_step(LATER, FILE)? == tree::bytes(FILE_LEN), "other bytes came");
            count += 1;
        }
        Ok(count)
    };
    let set = || -> Result<()> {
        clock::wait_until("a transfer is under way", LIMIT, || Ok(transfers()?.0 > requests))?;
        for days in [-1, 367, -366] {
            set_clock(days * DAY)?;
            // Timers of a second or two come due meanwhile.
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
    ensure!(known.iter().all(|step| now.contains(step)), "forgotten: {known:?}, {now:?}");
    Ok("ok".into())
}

/// The ledger's steps, each a line.
fn steps() -> Result<Vec<String>> {
    let shown = ask(Path::new("/run/pxed/pxed.sock"), "/api/v1/steps?limit=10000")?;
    Ok(shown.lines().filter(|line| line.starts_with('{')).map(str::to_owned).collect())
}

/// Sets the time of day by so many seconds.
fn set_clock(by: i64) -> Result<()> {
    let mut now = clock_gettime(ClockId::Realtime);
    now.tv_sec += by;
    Ok(clock_settime(ClockId::Realtime, now)?)
}

/// What the daemon has counted since its start.
fn count(label: &str) -> Result<u64> {
    let shown = ask(Path::new("/run/pxed/pxed.sock"), "/metrics")?;
    let label = format!("event=\"{label}\"");
    let line = shown.lines().find(|line| line.starts_with("pxed_events_total") && line.contains(&label));
    let value = line.and_then(|line| line.split_whitespace().last()).context("no such counter")?;
    Ok(value.parse()?)
}

/// The daemon's own line about how long nobody has served.
fn took_over() -> Result<String> {
    let said = journal()?;
    let line = said.lines().rev().find(|line| line.contains("took_over"));
    Ok(line.with_context(|| format!("nothing was taken over: {said}"))?.to_owned())
}

/// A curl that loads the file, in the machine's namespace.
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
