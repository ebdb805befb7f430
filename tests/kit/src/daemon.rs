//! Starts the daemon under test, reads its log, its counters and its API, and ends it.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::{Host, Lab, Process, clock};

/// The limit for all waits here. Generous, because no test asserts a time.
const START: Duration = Duration::from_secs(60);

/// Starts the program as a service manager does: the stored descriptor, here the standard input, becomes descriptor 3
/// (sd_listen_fds(3)).
const WITH_KEPT: &str =
    "exec env LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=pxed-hand-over \"$@\" 3<&0 </dev/null";
const WITHOUT: &str = "exec \"$@\"";
/// The daemon's default for `--socket`.
const DEFAULT_SOCKET: &str = "/run/pxed/pxed.sock";

/// The path of `pxed`, which `cargo xtask test` builds beside this program.
pub fn program() -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    // Cargo puts tests one folder deeper than programs.
    let places: Vec<_> = this.ancestors().skip(1).take(2).map(|folder| folder.join("pxed")).collect();
    let found = places.iter().find(|file| file.exists());
    let remedy = "run `cargo build`, or the tests by `cargo xtask test`";
    found.unwrap_or_else(|| panic!("none of {places:?} exists: {remedy}")).clone()
}

/// The answer of the daemon's API on a Unix socket to a GET of `path`.
///
/// # Errors
/// If the daemon does not answer, or answers with an error.
pub fn ask(socket: &Path, path: &str) -> Result<String> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--unix-socket"]).arg(socket);
    crate::command::output(curl.arg(format!("http://localhost{path}")))
}

/// A running daemon, on a host of a lab or in this thread's network namespace.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    socket: PathBuf,
}

impl Daemon {
    /// Starts `pxed serve` on the responder's interface with more arguments, and waits until it serves.
    ///
    /// # Errors
    /// If it ends or does not become ready. The error contains the end of its log.
    pub fn start(lab: &Lab, arguments: &[&str]) -> Result<Self> {
        Self::start_on(lab, lab.responder(), lab.responder().interface(), arguments)
    }

    /// Like [`start`](Self::start), on any host and interface.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_on(lab: &Lab, host: &Host, interface: &str, arguments: &[&str]) -> Result<Self> {
        Self::start_with(lab, host, interface, arguments, &[])
    }

    /// Like [`start_on`](Self::start_on), with variables in its environment.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_with(
        lab: &Lab,
        host: &Host,
        interface: &str,
        arguments: &[&str],
        variables: &[(&str, String)],
    ) -> Result<Self> {
        let program = program();
        let mut command = host.command(program.to_str().context("the path is not UTF-8")?);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let daemon = Self::launch(lab, interface, command, arguments, Stdio::null())?;
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// Starts the daemon as a service of the manager that listens at `notify`, on the responder's interface, without
    /// waiting until it serves. `kept` is the descriptor that the manager stored for the previous daemon.
    ///
    /// # Errors
    /// If it does not start.
    pub fn launch_service(
        lab: &Lab,
        arguments: &[&str],
        notify: &Path,
        kept: Option<OwnedFd>,
    ) -> Result<Self> {
        let mut command = lab.responder().command("sh");
        command.env("NOTIFY_SOCKET", notify).args(["-c", if kept.is_some() { WITH_KEPT } else { WITHOUT }]);
        command.arg("sh").arg(program());
        let stdin = kept.map_or_else(Stdio::null, Stdio::from);
        Self::launch(lab, lab.responder().interface(), command, arguments, stdin)
    }

    /// Starts a whole command line in this thread's network namespace, and waits until the daemon serves.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_here(words: &[String]) -> Result<Self> {
        let daemon = Self::launch_here(words)?;
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// Like [`start_here`](Self::start_here), without waiting until the daemon serves.
    ///
    /// # Errors
    /// If it does not start.
    pub fn launch_here(words: &[String]) -> Result<Self> {
        let [program, arguments @ ..] = words else { bail!("no program") };
        let mut command = Command::new(program);
        command.args(arguments);
        Self::run_here(command)
    }

    /// Like [`launch_here`](Self::launch_here), from a command that may set variables.
    ///
    /// # Errors
    /// If it does not start.
    pub fn run_here(command: Command) -> Result<Self> {
        let mut words = command.get_args().skip_while(|word| *word != "--socket");
        let socket = words.nth(1).map_or_else(|| DEFAULT_SOCKET.into(), PathBuf::from);
        Ok(Self { process: Process::start_here("pxed", command)?, socket })
    }

    fn launch(
        lab: &Lab,
        interface: &str,
        mut command: Command,
        arguments: &[&str],
        stdin: Stdio,
    ) -> Result<Self> {
        command.args(["--log-format", "json", "serve", "--interface", interface]).args(arguments);
        // Labs run in parallel, and network namespaces do not separate the paths of sockets.
        let socket = lab.folder().join(format!("{interface}.sock"));
        command.arg("--socket").arg(&socket);
        command.env("RUST_LOG", "debug");
        // Each daemon needs its own log files.
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let name = format!("pxed-{}", STARTED.fetch_add(1, Ordering::Relaxed));
        Ok(Self { process: lab.spawn_from(&name, command, stdin)?, socket })
    }

    /// The daemon's log so far.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// The daemon's process ID.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The log lines of one kind of event.
    pub fn events(&self, event: &str) -> Vec<String> {
        let wanted = format!("\"event\":\"{event}\"");
        self.log().lines().filter(|line| line.contains(&wanted)).map(str::to_owned).collect()
    }

    /// Waits until the daemon serves.
    ///
    /// # Errors
    /// If it ends first, or never becomes ready.
    pub fn wait_ready(&self) -> Result<()> {
        self.process.wait_for("ready: serving", START)
    }

    /// Waits until the log contains these words.
    ///
    /// # Errors
    /// If it never does. The error contains the log.
    pub fn wait_for(&self, words: &str) -> Result<()> {
        self.wait_until(words, || self.log().contains(words))
    }

    /// Waits until the log contains `count` events of a kind, and returns their lines.
    ///
    /// # Errors
    /// If it never does. The error contains the log.
    pub fn wait_events(&self, event: &str, count: usize) -> Result<Vec<String>> {
        self.wait_until(&format!("{count} `{event}` events"), || self.events(event).len() >= count)?;
        Ok(self.events(event))
    }

    fn wait_until(&self, what: &str, is_there: impl Fn() -> bool) -> Result<()> {
        clock::wait_until(what, START, || Ok(is_there())).with_context(|| self.log())
    }

    /// The output of `pxed status --json`.
    ///
    /// # Errors
    /// If the command fails, or prints no JSON.
    pub fn status(&self) -> Result<Value> {
        let output =
            Command::new(program()).args(["status", "--json", "--socket"]).arg(&self.socket).output()?;
        ensure!(output.status.success(), "pxed status: {}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The API's summary of the daemon.
    ///
    /// # Errors
    /// If the daemon does not answer, or answers no JSON.
    pub fn summary(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.get("/api/v1/summary")?)?)
    }

    /// The API's answer to a GET of `path`.
    ///
    /// # Errors
    /// If the daemon does not answer, or answers with an error.
    pub fn get(&self, path: &str) -> Result<String> {
        ask(&self.socket, path)
    }

    /// Waits until the output of `pxed status --json` meets a condition, and returns it.
    ///
    /// # Errors
    /// If it never does. The error contains the log.
    pub fn wait_status(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        clock::wait_until(what, START, || Ok(is_so(&self.status()?))).with_context(|| self.log())?;
        self.status()
    }

    /// Waits until the kernel holds a file, cut into blocks of one more size than `before`, the last result. Returns the
    /// bytes of all files that it holds.
    ///
    /// # Errors
    /// If it never does. The error contains the log.
    pub fn wait_offload(&self, before: u64) -> Result<u64> {
        let held = || {
            let metrics = self.get("/metrics")?;
            let values = metrics.lines().filter_map(|line| line.strip_prefix("pxed_offload_bytes{"));
            anyhow::Ok(
                values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
            )
        };
        clock::wait_until("the kernel holds the file", START, || Ok(held()? > before))
            .with_context(|| self.log())?;
        held()
    }

    /// Waits until the daemon ends.
    ///
    /// # Errors
    /// If `timeout` passes first.
    pub fn wait(&self, timeout: Duration) -> Result<ExitStatus> {
        self.process.wait(timeout)
    }

    /// Whether the daemon still runs.
    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// Sends the daemon a signal, without waiting for the effect.
    ///
    /// # Errors
    /// If the daemon has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Ends the daemon by SIGTERM, and returns its log.
    ///
    /// # Errors
    /// If it does not end, or its exit code is not 0.
    pub fn stop(self) -> Result<String> {
        // If it has ended before, the signal fails, and its status shows how it ended.
        drop(self.signal(Signal::TERM));
        let status = self.ended()?;
        ensure!(status.success(), "pxed ended with {status}:\n{}", self.log());
        Ok(self.log())
    }

    /// Waits until the daemon has ended, by itself or by an earlier signal.
    ///
    /// # Errors
    /// If it does not end.
    pub fn ended(&self) -> Result<ExitStatus> {
        self.wait(START)
    }

    /// Checks that the daemon ends by itself with exit code 1 and these words in the last line of its log.
    ///
    /// # Errors
    /// If it does not.
    pub fn ends_saying(self, words: &[&str]) -> Result<()> {
        said(self.ended()?, &self.log(), words)
    }

    /// The value of a counter in the summary that the daemon logs at its end.
    pub fn count(log: &str, label: &str) -> u64 {
        let Some(summary) = log.lines().rev().find(|line| line.contains("counted: ")) else { return 0 };
        let start = format!("{label}=");
        let word = summary.split([' ', '"']).find_map(|word| word.strip_prefix(&start));
        word.and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

/// Checks that a daemon failed with a reason: exit code 1, no panic, and these words in the last line of the log.
///
/// # Errors
/// If it did not.
pub fn said(status: ExitStatus, log: &str, words: &[&str]) -> Result<()> {
    ensure!(status.signal().is_none() && status.code() == Some(1), "{status}: {log}");
    ensure!(!log.contains("panicked"), "{log}");
    let last = log.lines().last().unwrap_or_default();
    for word in words {
        ensure!(last.contains(word), "`{word}` is missing in: {log}");
    }
    Ok(())
}
