//! The daemon under test.

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

/// How long the daemon may take to serve. Generous: a timing is never an assertion.
const START: Duration = Duration::from_secs(60);

/// How a service manager starts the program: what it has kept, here the standard input, is descriptor 3 (sd_listen_fds(3)).
const WITH_KEPT: &str =
    "exec env LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=pxed-hand-over \"$@\" 3<&0 </dev/null";
const WITHOUT: &str = "exec \"$@\"";
/// Where it listens unless it is told another place.
const DEFAULT_SOCKET: &str = "/run/pxed/pxed.sock";

/// The program, built by `cargo xtask test` beside this one.
pub fn program() -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    // Tests lie one folder deeper than programs.
    let places: Vec<_> = this.ancestors().skip(1).take(2).map(|folder| folder.join("pxed")).collect();
    let found = places.iter().find(|file| file.exists());
    let remedy = "run `cargo build`, or the tests by `cargo xtask test`";
    found.unwrap_or_else(|| panic!("there is none of {places:?}: {remedy}")).clone()
}

/// What the API of the daemon that listens on this Unix socket says to a GET of `path`.
///
/// # Errors
/// When it does not answer well.
pub fn ask(socket: &Path, path: &str) -> Result<String> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--unix-socket"]).arg(socket);
    crate::command::output(curl.arg(format!("http://localhost{path}")))
}

/// A running daemon: on a host of a lab, or in this thread's network namespace.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    socket: PathBuf,
}

impl Daemon {
    /// Starts `pxed serve` on the responder's interface with more arguments, and waits until it serves.
    ///
    /// # Errors
    /// When it ends, or says nothing; with its last words.
    pub fn start(lab: &Lab, arguments: &[&str]) -> Result<Self> {
        Self::start_on(lab, lab.responder(), lab.responder().interface(), arguments)
    }

    /// The same on any host and interface.
    ///
    /// # Errors
    /// As above.
    pub fn start_on(lab: &Lab, host: &Host, interface: &str, arguments: &[&str]) -> Result<Self> {
        let program = program();
        let command = host.command(program.to_str().context("the path is not UTF-8")?);
        let daemon = Self::launch(lab, interface, command, arguments, Stdio::null())?;
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// Starts it as a service of the manager that listens at `notify`, on the responder's interface, with what that has kept of
    /// the one before, and does not wait for it.
    ///
    /// # Errors
    /// When it cannot be started.
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

    /// Starts a daemon by its whole command line in this thread's network namespace, and waits until it serves.
    ///
    /// # Errors
    /// When it does not; with its log.
    pub fn start_here(words: &[String]) -> Result<Self> {
        let daemon = Self::launch_here(words)?;
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// The same, and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_here(words: &[String]) -> Result<Self> {
        let [program, arguments @ ..] = words else { bail!("no program") };
        let mut command = Command::new(program);
        command.args(arguments);
        Self::run_here(command)
    }

    /// The same by a command, with its variables.
    ///
    /// # Errors
    /// When it cannot be started.
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
        // Labs run side by side, and a socket's path knows no network namespace.
        let socket = lab.folder().join(format!("{interface}.sock"));
        command.arg("--socket").arg(&socket);
        command.env("RUST_LOG", "debug");
        // Each has files of its own for what it says.
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let name = format!("pxed-{}", STARTED.fetch_add(1, Ordering::Relaxed));
        Ok(Self { process: lab.spawn_from(&name, command, stdin)?, socket })
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Log lines of one kind of event.
    pub fn events(&self, event: &str) -> Vec<String> {
        let wanted = format!("\"event\":\"{event}\"");
        self.log().lines().filter(|line| line.contains(&wanted)).map(str::to_owned).collect()
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// When it ends, or does not come so far.
    pub fn wait_ready(&self) -> Result<()> {
        self.process.wait_for("ready: serving", START)
    }

    /// Waits until it has logged these words.
    ///
    /// # Errors
    /// When they do not come.
    pub fn wait_for(&self, words: &str) -> Result<()> {
        self.wait_until(words, || self.log().contains(words))
    }

    /// Waits until `count` events of a kind have been logged, and returns them.
    ///
    /// # Errors
    /// When they do not come.
    pub fn wait_events(&self, event: &str, count: usize) -> Result<Vec<String>> {
        self.wait_until(&format!("{count} `{event}` events"), || self.events(event).len() >= count)?;
        Ok(self.events(event))
    }

    fn wait_until(&self, what: &str, is_there: impl Fn() -> bool) -> Result<()> {
        clock::wait_until(what, START, || Ok(is_there())).with_context(|| self.log())
    }

    /// What `pxed status --json` says.
    ///
    /// # Errors
    /// When it fails, or says what is no JSON.
    pub fn status(&self) -> Result<Value> {
        let output =
            Command::new(program()).args(["status", "--json", "--socket"]).arg(&self.socket).output()?;
        ensure!(output.status.success(), "pxed status: {}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// What the API says of the daemon as a whole.
    ///
    /// # Errors
    /// When it does not answer, or says what is no JSON.
    pub fn summary(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.get("/api/v1/summary")?)?)
    }

    /// What it shows of itself under a path of its own socket.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn get(&self, path: &str) -> Result<String> {
        ask(&self.socket, path)
    }

    /// Waits until `pxed status --json` is so, and returns it.
    ///
    /// # Errors
    /// When it never is.
    pub fn wait_status(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        clock::wait_until(what, START, || Ok(is_so(&self.status()?))).with_context(|| self.log())?;
        self.status()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When `timeout` passes.
    pub fn wait(&self, timeout: Duration) -> Result<ExitStatus> {
        self.process.wait(timeout)
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// Sends it a signal, and does not wait.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Ends it by SIGTERM; it must end well. Returns its whole log.
    ///
    /// # Errors
    /// When it does not end, or with another code than 0.
    pub fn stop(self) -> Result<String> {
        // One that has ended already says by its status how.
        drop(self.signal(Signal::TERM));
        let status = self.ended()?;
        ensure!(status.success(), "pxed ended with {status}:\n{}", self.log());
        Ok(self.log())
    }

    /// Waits until it has ended by itself, or by a signal.
    ///
    /// # Errors
    /// When it does not end.
    pub fn ended(&self) -> Result<ExitStatus> {
        self.wait(START)
    }

    /// It must end by itself with exit code 1, and say these words in its last line.
    ///
    /// # Errors
    /// When it does not.
    pub fn ends_saying(self, words: &[&str]) -> Result<()> {
        said(self.ended()?, &self.log(), words)
    }

    /// How often something was counted, by the summary that it logs at its end.
    pub fn count(log: &str, label: &str) -> u64 {
        let Some(summary) = log.lines().rev().find(|line| line.contains("counted: ")) else { return 0 };
        let start = format!("{label}=");
        let word = summary.split([' ', '"']).find_map(|word| word.strip_prefix(&start));
        word.and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

/// A daemon that could not start, or ended, says why: exit code 1, and a last line with these words.
///
/// # Errors
/// When it is not so.
pub fn said(status: ExitStatus, log: &str, words: &[&str]) -> Result<()> {
    ensure!(status.signal().is_none() && status.code() == Some(1), "{status}: {log}");
    ensure!(!log.contains("panicked"), "{log}");
    let last = log.lines().last().unwrap_or_default();
    for word in words {
        ensure!(last.contains(word), "`{word}` is missing in: {log}");
    }
    Ok(())
}
