//! Reads from the responder's log which files each machine has fetched.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use pxe_kit::{Lab, LogTail};
use serde_json::Value;

use super::Serving;

/// A file that a machine has fetched completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) mac: String,
    pub(super) file: String,
    pub(super) bytes: u64,
}

/// Reads the log while the responder writes it.
pub(super) struct Follower {
    log: LogTail,
    format: Format,
    all: Vec<Fetched>,
}

/// The format of a responder's log.
enum Format {
    /// JSON lines.
    Pxed,
    /// `sent FILE to ADDRESS`. The leases of the DHCP server name the machine with the address.
    Dnsmasq { leases: PathBuf },
}

impl Follower {
    pub(super) fn new(lab: &Lab, serving: &Serving) -> Self {
        let format = match serving {
            Serving::Pxed(_) => Format::Pxed,
            Serving::Dnsmasq(_) => Format::Dnsmasq { leases: lab.folder().join("leases") },
        };
        Self { log: LogTail::new(serving.process().stderr_file()), format, all: Vec::new() }
    }

    /// Reads the lines that were added since the last call.
    pub(super) fn catch_up(&mut self) {
        let lines = self.log.lines();
        match &self.format {
            Format::Pxed => self.all.extend(lines.iter().filter_map(|l| from_pxed(l))),
            Format::Dnsmasq { leases } => {
                let leases = read_leases(&fs::read_to_string(leases).unwrap_or_default());
                let size = |file: &str| fs::metadata(file).map_or(0, |m| m.len());
                self.all.extend(lines.iter().filter_map(|l| from_dnsmasq(l, &leases, size)));
            }
        }
    }

    /// The number of bytes that a machine has fetched.
    pub(super) fn bytes(&self, mac: &str) -> u64 {
        of(&self.all, mac).map(|f| f.bytes).sum()
    }

    pub(super) fn all(self) -> Vec<Fetched> {
        self.all
    }
}

/// The files that one machine has fetched.
pub(super) fn of<'a>(all: &'a [Fetched], mac: &'a str) -> impl Iterator<Item = &'a Fetched> {
    all.iter().filter(move |f| f.mac.eq_ignore_ascii_case(mac))
}

/// Parses `{"fields":{"event":"fetched","mac":...,"file":...,"bytes":...}}`.
fn from_pxed(line: &str) -> Option<Fetched> {
    let record: Value = serde_json::from_str(line).ok()?;
    let fields = &record["fields"];
    if fields["event"] != "fetched" {
        return None;
    }
    let bytes = fields["bytes"].as_u64().or_else(|| fields["bytes"].as_str()?.parse().ok())?;
    Some(Fetched {
        mac: fields["mac"].as_str()?.to_owned(),
        file: fields["file"].as_str()?.to_owned(),
        bytes,
    })
}

fn from_dnsmasq(line: &str, leases: &HashMap<String, String>, size: impl Fn(&str) -> u64) -> Option<Fetched> {
    let (_, sent) = line.split_once(": sent ")?;
    let (path, address) = sent.rsplit_once(" to ")?;
    let file = path.rsplit_once('/').map_or(path, |(_, name)| name).to_owned();
    Some(Fetched { mac: leases.get(address.trim())?.clone(), file, bytes: size(path) })
}

/// The Ethernet addresses in dnsmasq's lines `EXPIRY MAC ADDRESS NAME ID`, by IPv4 address.
fn read_leases(text: &str) -> HashMap<String, String> {
    let lease = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let mac = words.next()?.to_owned();
        Some((words.next()?.to_owned(), mac))
    };
    text.lines().filter_map(lease).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fetched_files_count() {
        let line = r#"{"timestamp":"t","level":"INFO","fields":{"message":"fetched","event":"fetched","mac":"52:54:00:99:00:10","file":"pxelinux.0","bytes":42430,"ms":12,"retransmits":0},"target":"pxed"}"#;
        let wanted =
            Fetched { mac: "52:54:00:99:00:10".to_owned(), file: "pxelinux.0".to_owned(), bytes: 42430 };
        assert_eq!(from_pxed(line), Some(wanted));
        assert_eq!(from_pxed(&line.replace(r#""event":"fetched""#, r#""event":"told""#)), None);
        assert_eq!(from_pxed("ready"), None);
    }

    #[test]
    fn dnsmasq_names_an_address_and_the_leases_the_machine() {
        let leases = read_leases("1795000000 52:54:00:99:00:10 10.99.0.116 * 01:52:54:00:99:00:10\nduid x\n");
        let line = "dnsmasq-tftp: sent /tmp/x/tftp/pxelinux.0 to 10.99.0.116";
        let fetched = from_dnsmasq(line, &leases, |_| 7).expect("a file that was sent");
        assert_eq!((&*fetched.mac, &*fetched.file, fetched.bytes), ("52:54:00:99:00:10", "pxelinux.0", 7));
        assert_eq!(from_dnsmasq("dnsmasq-tftp: sent /x/y to 10.99.0.7", &leases, |_| 7), None);
        assert_eq!(from_dnsmasq("dnsmasq-tftp: error 0 aborted received", &leases, |_| 7), None);
    }
}
