//! The daemon under test.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use xtask::lab::{Host, Lab, Process};

/// How long the daemon may take to serve. Generous: a timing is never an assertion.
const START: Duration = Duration::from_secs(60);

/// The program, built by `cargo xtask test` beside this one.
pub fn program() -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    let folder = this.parent().and_then(|deps| deps.parent()).map(PathBuf::from).unwrap_or_default();
    let program = folder.join("pxed");
    assert!(
        program.exists(),
        "{} is not built: run `cargo build`, or the tests by `cargo xtask test`",
        program.display()
    );
    program
}

/// A running daemon on the lab's responder host.
#[derive(Debug)]
pub struct Daemon(Process);

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
        command.arg("--socket").arg(lab.folder().join(format!("{interface}.sock")));
        command.env("RUST_LOG", "debug");
        let process = lab.spawn("pxed", command)?;
        process.wait_for("ready", START)?;
        Ok(Self(process))
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        self.0.stderr()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.pid()
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

    #[expect(clippy::disallowed_methods, reason = "a limit for waiting, not an assertion")]
    fn wait_until(&self, what: &str, is_there: impl Fn() -> bool) -> Result<()> {
        let start = Instant::now();
        while !is_there() {
            ensure!(start.elapsed() < START, "{what}: did not come:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Ends it by SIGTERM; it must end well. Returns its whole log.
    ///
    /// # Errors
    /// When it does not end, or with another code than 0.
    pub fn stop(self) -> Result<String> {
        let status = self.0.stop()?;
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
