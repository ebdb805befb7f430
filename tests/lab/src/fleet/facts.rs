//! What the daemon says of its machines, by each of its ways.

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
    /// By `pxed status --json`.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn by_status(lab: &Lab, pxed: &Path) -> Result<Self> {
        let json = text(lab, pxed, &["status", "--json", "--socket", &socket(lab)])?;
        Ok(Self(serde_json::from_str(&json).context("`pxed status --json` is no JSON")?))
    }

    /// By the API, over TCP.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn by_api(lab: &Lab) -> Result<Self> {
        let json = fetched(lab, "/api/v1/machines")?;
        Ok(Self(serde_json::from_str(&json).context("the API's answer is no JSON")?))
    }

    /// All machines.
    #[must_use]
    pub fn machines(&self) -> &[Value] {
        self.0["machines"].as_array().map_or(&[], Vec::as_slice)
    }

    /// One machine.
    #[must_use]
    pub fn machine(&self, mac: &str) -> Option<&Value> {
        self.machines().iter().find(|machine| machine["mac"] == mac)
    }

    /// How one machine is doing.
    #[must_use]
    pub fn state(&self, mac: &str) -> Option<&str> {
        self.machine(mac)?["state"].as_str()
    }

    /// How many machines are in each state.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<String, usize> {
        let mut totals = BTreeMap::new();
        for state in self.machines().iter().filter_map(|machine| machine["state"].as_str()) {
            *totals.entry(state.to_owned()).or_default() += 1;
        }
        totals
    }
}

/// The metrics.
pub(super) fn metrics(lab: &Lab) -> Result<String> {
    fetched(lab, "/metrics")
}

fn fetched(lab: &Lab, path: &str) -> Result<String> {
    let mut curl = lab.responder().command("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "20"])
        .arg(format!("http://{BOARD}{path}"));
    output(curl)
}

/// What `pxed` writes.
///
/// # Errors
/// When it fails.
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
