//! Reads the state of machines from the daemon: by `pxed status`, by the API and by the metrics.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pxe_kit::Lab;
use serde_json::Value;

use super::scene::{BOARD, socket};

/// The board as JSON.
#[derive(Clone, Debug)]
pub struct Facts(pub Value);

impl Facts {
    /// Reads the board by `pxed status --json`.
    ///
    /// # Errors
    /// If the daemon does not answer.
    pub fn by_status(lab: &Lab, pxed: &Path) -> Result<Self> {
        let json = text(lab, pxed, &["status", "--json", "--socket", &socket(lab)])?;
        Ok(Self(serde_json::from_str(&json).context("`pxed status --json` is no JSON")?))
    }

    /// Reads the board by the API over TCP.
    ///
    /// # Errors
    /// If the daemon does not answer.
    pub fn by_api(lab: &Lab) -> Result<Self> {
        let json = fetched(lab, "/api/v1/machines")?;
        Ok(Self(serde_json::from_str(&json).context("the API's answer is no JSON")?))
    }

    /// The machines of the board.
    #[must_use]
    pub fn machines(&self) -> &[Value] {
        self.0["machines"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The machine with an Ethernet address, if the board has it.
    #[must_use]
    pub fn machine(&self, mac: &str) -> Option<&Value> {
        self.machines().iter().find(|machine| machine["mac"] == mac)
    }

    /// The state of a machine, for example `running`.
    #[must_use]
    pub fn state(&self, mac: &str) -> Option<&str> {
        self.machine(mac)?["state"].as_str()
    }

    /// The number of machines in each state.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<String, usize> {
        let mut totals = BTreeMap::new();
        for state in self.machines().iter().filter_map(|machine| machine["state"].as_str()) {
            *totals.entry(state.to_owned()).or_default() += 1;
        }
        totals
    }
}

/// The text of `/metrics`.
pub(super) fn metrics(lab: &Lab) -> Result<String> {
    fetched(lab, "/metrics")
}

fn fetched(lab: &Lab, path: &str) -> Result<String> {
    let mut curl = lab.responder().command("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "20"])
        .arg(format!("http://{BOARD}{path}"));
    output(curl)
}

/// Runs `pxed` with arguments on the responder's host, and returns its standard output.
///
/// # Errors
/// If the command fails. The error contains its standard error.
pub fn text(lab: &Lab, pxed: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = lab.responder().command(&pxed.to_string_lossy());
    command.args(arguments);
    output(command)
}

pub(super) fn output(mut command: std::process::Command) -> Result<String> {
    let output = command.output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{} ended with {}: {words}",
        pxe_kit::command::shown(&command),
        output.status
    );
    Ok(String::from_utf8(output.stdout)?)
}
