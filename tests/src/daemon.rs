//! The daemon under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xtask::clock;
use xtask::lab::{Host, Lab, Process};

/// How long the daemon may take to serve. Generous: a timing is never an assertion.
const START: Duration = Duration::from_secs(60);

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
    xtask::command::output(curl.arg(format!("http://localhost{path}")))
}

/// A running daemon on the lab's responder host.
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
        let mut command = host.command(program.to_str().context("the path is not UTF-8")?);
        command.args(["--log-format", "json", "serve", "--interface", interface]).args(arguments);
        // Labs run side by side, and a socket's path knows no network namespace.
        let socket = lab.folder().join(format!("{interface}.sock"));
        command.arg("--socket").arg(&socket);
        command.env("RUST_LOG", "debug");
        // Each has files of its own for what it says.
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let name = format!("pxed-{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let process = lab.spawn(&name, command)?;
        process.wait_for("ready", START)?;
        Ok(Self { process, socket })
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
        Ok(serde_json::from_str(&ask(&self.socket, "/api/v1/summary")?)?)
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
    pub fn wait(&self, timeout: Duration) -> Result<std::process::ExitStatus> {
        self.process.wait(timeout)
    }

    /// Ends it by SIGTERM; it must end well. Returns its whole log.
    ///
    /// # Errors
    /// When it does not end, or with another code than 0.
    pub fn stop(self) -> Result<String> {
        let status = self.process.stop()?;
        ensure!(status.success(), "pxed ended with {status}:\n{}", self.log());
        Ok(self.log())
    }

    /// How often something was counted, by the summary that it logs at its end.
    pub fn count(log: &str, label: &str) -> u64 {
        let Some(summary) = log.lines().rev().find(|line| line.contains("counted: ")) else { return 0 };
        let start = format!("{label}=");
        let word = summary.split([' ', '"']).find_map(|word| word.strip_prefix(&start));
        word.and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}
