//! Asks apt what it would do to install packages, without changing anything.

use std::collections::BTreeSet;
use std::process::Command;

use super::manager::Manager;

/// The answer of apt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// apt would download and install packages.
    Install(Downloads),
    /// apt does not know a package, or an installable version of it.
    Unknown,
    /// apt would have to remove a package, or cannot install at all. The text is apt's error.
    Refused(String),
}

/// The downloads of an installation.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Downloads {
    pub(super) packages: usize,
    pub(super) bytes: u64,
    /// The hosts, or `file:` and the like.
    pub(super) places: BTreeSet<String>,
}

impl Plan {
    /// Asks apt. This needs no root.
    pub(super) fn of(wanted: &[&str]) -> Self {
        let mut apt = Command::new(Manager::Apt.program());
        // In English, because the output is parsed.
        apt.args(Manager::Apt.install_words()).arg("--print-uris").args(wanted).env("LC_ALL", "C");
        match apt.output() {
            Ok(out) if out.status.success() => {
                Self::Install(Downloads::parse(&String::from_utf8_lossy(&out.stdout)))
            }
            Ok(out) => Self::parse_refusal(&String::from_utf8_lossy(&out.stderr)),
            Err(error) => Self::Refused(format!("cannot start apt-get: {error}")),
        }
    }

    fn parse_refusal(said: &str) -> Self {
        let unknown = ["Unable to locate package", "has no installation candidate"];
        if unknown.iter().any(|words| said.contains(words)) {
            return Self::Unknown;
        }
        let errors = said.lines().filter_map(|line| line.strip_prefix("E: "));
        Self::Refused(errors.collect::<Vec<_>>().join(" "))
    }
}

impl Downloads {
    /// Parses the lines `'http://HOST/PATH' FILE SIZE HASH`, and ignores others.
    fn parse(said: &str) -> Self {
        let mut downloads = Self::default();
        for line in said.lines() {
            let Some((address, rest)) = line.strip_prefix('\'').and_then(|line| line.split_once("' ")) else {
                continue;
            };
            downloads.packages += 1;
            downloads.bytes += rest.split(' ').nth(1).and_then(|size| size.parse().ok()).unwrap_or(0);
            downloads.places.insert(place(address));
        }
        downloads
    }

    /// For example `28 packages, 61 MB, from HOST`.
    pub(super) fn shown(&self) -> String {
        let places = self.places.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let megabytes = self.bytes.div_ceil(1_000_000);
        match self.packages {
            0 => "nothing to download".to_owned(),
            1 => format!("1 package, {megabytes} MB, from {places}"),
            packages => format!("{packages} packages, {megabytes} MB, from {places}"),
        }
    }
}

/// The host of an address, without user name and password, or the scheme if there is no host.
fn place(address: &str) -> String {
    let (scheme, rest) = address.split_once(':').unwrap_or((address, ""));
    let host = rest.trim_start_matches('/').split('/').next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if matches!(scheme, "file" | "copy" | "cdrom") { format!("{scheme}:") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downloads_are_counted_with_their_places_and_without_passwords() {
        let said = "Reading package lists...\n\
             'http://mirror.example/debian/pool/q.deb' q_1_amd64.deb 1500000 SHA256:aa\n\
             'http://me:secret@mirror.example/debian/pool/s.deb' s_1_all.deb 1 SHA256:bb\n\
             'file:/srv/debs/t.deb' t_1_all.deb 2 SHA256:cc\n";
        let downloads = Downloads::parse(said);
        assert_eq!(downloads.shown(), "3 packages, 2 MB, from file:, mirror.example");
        assert_eq!(Downloads::parse("Reading package lists...\n").shown(), "nothing to download");
    }

    /// The errors of apt 2.6.
    #[test]
    fn refusals_are_told_apart() {
        assert_eq!(
            Plan::parse_refusal("E: Unable to locate package libstd-rust-web-dev-bpf\n"),
            Plan::Unknown
        );
        assert_eq!(Plan::parse_refusal("E: Package 'x' has no installation candidate\n"), Plan::Unknown);
        let removal = "E: Packages need to be removed but remove is disabled.\n";
        let Plan::Refused(why) = Plan::parse_refusal(removal) else { panic!("{removal}") };
        assert_eq!(why, "Packages need to be removed but remove is disabled.");
    }
}
