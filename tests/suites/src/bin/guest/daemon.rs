//! The daemon in the guest.

use std::fmt;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use pxe_kit::clock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const LOG: &str = "/tmp/pxed.log";
/// How long it may take to start, and to end. Generous: this is an emulated machine.
const LIMIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// A running daemon.
pub(crate) struct Daemon(Child);

/// How it serves, as its log says.
pub(crate) struct Serving {
    words: Vec<String>,
}

impl fmt::Display for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))
    }
}

impl Daemon {
    pub(crate) fn start(interface: &str, root: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new("/bin/pxed");
        command.args(["--log-format", "json", "serve", "--interface", interface, "--root", root]);
        command.args(arguments).env("RUST_LOG", "debug");
        command.stdin(Stdio::null()).stderr(File::create(LOG)?);
        Ok(Self(command.spawn().context("/bin/pxed")?))
    }

    /// Waits until it serves.
    pub(crate) fn serving(&self) -> Result<Serving> {
        let deadline = clock::now() + LIMIT;
        while clock::now() < deadline {
            let log = fs::read_to_string(LOG)?;
            if log.contains("ready: serving") {
                return Serving::find(&log).with_context(|| format!("it does not say how it serves: {log}"));
            }
            if let Some(error) = log.lines().find(|line| line.starts_with("pxed: ")) {
                bail!("{error}");
            }
            sleep(LOOK);
        }
        bail!("pxed is not ready after {LIMIT:?}")
    }

    /// Ends it without giving it a chance to clean up.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Ends it by SIGTERM. It must end well; returns its log.
    pub(crate) fn stop(mut self) -> Result<String> {
        // An error means that it has ended already, which its status tells better.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let deadline = clock::now() + LIMIT;
        loop {
            if let Some(status) = self.0.try_wait()? {
                let log = fs::read_to_string(LOG)?;
                ensure!(status.success(), "pxed ended with {status}: {log}");
                return Ok(log);
            }
            if clock::now() > deadline {
                self.0.kill()?;
                bail!("pxed did not end in {LIMIT:?}");
            }
            sleep(LOOK);
        }
    }
}

impl Serving {
    fn find(log: &str) -> Option<Self> {
        let records = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let fields = records.map(|mut record| record["fields"].take()).find(|f| f["datapath"].is_string())?;
        let word = |name: &&str| fields[*name].as_str().map(str::to_owned);
        Some(Self { words: ["datapath", "mode", "copying"].iter().filter_map(word).collect() })
    }
}
