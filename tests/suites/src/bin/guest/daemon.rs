//! Starts the daemon in the guest, and reads from its log how it serves.

use std::fmt;
use std::process::Command;

use anyhow::{Context as _, Result};
use pxe_kit::daemon::Daemon;
use serde_json::Value;

/// The datapath, the XDP mode and the copy mode in the daemon's log.
pub(crate) struct Serving {
    words: Vec<String>,
}

impl fmt::Display for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))
    }
}

/// Starts the daemon, without waiting until it serves.
pub(crate) fn start(interface: &str, root: &str, arguments: &[&str]) -> Result<Daemon> {
    let mut command = Command::new("/bin/pxed");
    command.args(["--log-format", "json", "serve", "--interface", interface, "--root", root]);
    command.args(arguments).env("RUST_LOG", "debug");
    Daemon::run_here(command)
}

/// Waits until the daemon serves, and returns how.
pub(crate) fn serving(daemon: &Daemon) -> Result<Serving> {
    daemon.wait_ready()?;
    let log = daemon.log();
    Serving::find(&log).with_context(|| format!("the log does not name the datapath: {log}"))
}

impl Serving {
    fn find(log: &str) -> Option<Self> {
        let records = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let fields = records.map(|mut record| record["fields"].take()).find(|f| f["datapath"].is_string())?;
        let word = |name: &&str| fields[*name].as_str().map(str::to_owned);
        Some(Self { words: ["datapath", "mode", "copying"].iter().filter_map(word).collect() })
    }
}
