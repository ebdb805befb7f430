//! What it was measured on.

use std::fs;
use std::process::Command;

use pxe_kit::command;
use serde_json::{Value, json};

use super::awake::Awake;
use super::cable::Cable;
use super::peers::{Peers, first_line};

/// The machine, its kernel, the day, and what took part.
#[derive(Clone, Debug, Default)]
pub struct Machine(pub Vec<(&'static str, String)>);

impl Machine {
    /// This one.
    #[must_use]
    pub fn here(cable: &Cable, awake: &Awake, peers: &Peers, rounds: usize) -> Self {
        let uname = rustix::system::uname();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut versions: Vec<String> =
            first_line(Command::new("dnsmasq").arg("--version")).into_iter().collect();
        versions.extend(peers.versions());
        let mut facts = vec![
            ("date", said(Command::new("date").args(["--utc", "+%Y-%m-%d %H:%M UTC"]))),
            ("processor", field("/proc/cpuinfo", "model name")),
            ("cores", cores.to_string()),
            ("memory", field("/proc/meminfo", "MemTotal")),
            (
                "kernel",
                format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
            ),
            ("set-up", cable.setup.title().to_owned()),
            ("idle processors", awake.title()),
            ("rounds", rounds.to_string()),
            (
                "pxed",
                said(Command::new("git").args([
                    "-C",
                    &command::workspace().to_string_lossy(),
                    "describe",
                    "--always",
                    "--dirty",
                ])),
            ),
            ("beside", versions.iter().map(|version| shortened(version)).collect::<Vec<_>>().join("; ")),
        ];
        facts.extend(cable.note.clone().map(|note| ("note", note)));
        Self(facts)
    }

    /// For the file of samples.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.0.iter().map(|(name, fact)| ((*name).to_owned(), json!(fact))).collect()
    }
}

fn said(command: &mut Command) -> String {
    first_line(command).unwrap_or_else(|| "unknown".into())
}

/// A program's version without its authors.
fn shortened(version: &str) -> &str {
    version.split("  ").next().unwrap_or_default().split(',').next().unwrap_or_default()
}

/// The first value of that name in a file of `name : value` lines.
fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned());
    found.unwrap_or_else(|| "unknown".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory() {
        assert!(field("/proc/meminfo", "MemTotal").ends_with("kB"));
        assert_eq!(field("/proc/meminfo", "Nothing"), "unknown");
    }

    #[test]
    fn a_version_is_short() {
        assert_eq!(shortened("Dnsmasq version 2.90  Copyright (c) 2000-2024"), "Dnsmasq version 2.90");
        assert_eq!(shortened("tftp-hpa 5.2, with remap, with tcpwrappers"), "tftp-hpa 5.2");
    }
}
