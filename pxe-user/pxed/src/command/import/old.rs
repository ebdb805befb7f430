//! What a dnsmasq configuration says about booting, line by line. Lines with a meaning of their own get their verdict here; those that
//! choose a boot file get it when it is known what they lead to.

use std::net::Ipv4Addr;

use super::decide::{Decision, Target};
use super::finding::Verdict;
use super::lines::Line;
use super::tags::{Need, Tags};

/// What a line offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A file's name, or a URL.
    File(String),
    /// The machine's own disk.
    Local,
    /// A boot server of that type, which the machine looks for by itself.
    Discover(u16),
}

/// A line that chooses what machines boot.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// The number of its line.
    pub(super) at: usize,
    pub(super) needs: Vec<Need>,
    /// The architecture, for `pxe-service`.
    pub(super) arch: Option<u16>,
    pub(super) what: What,
    /// Another machine that has the file.
    pub(super) server: Option<Ipv4Addr>,
}

/// A line that makes dnsmasq ignore machines.
#[derive(Clone, Debug)]
pub(super) struct Ignore {
    pub(super) at: usize,
    pub(super) needs: Vec<Need>,
}

/// The old configuration.
#[derive(Debug, Default)]
pub(super) struct Old {
    pub(super) lines: Vec<Line>,
    /// What became of each line, in the same order; `None` as long as it is not known.
    pub(super) verdicts: Vec<Option<Verdict>>,
    /// `interface`, with the number of the line; so for all others.
    pub(super) interfaces: Vec<(usize, String)>,
    pub(super) excepted: Vec<(usize, String)>,
    pub(super) listening: Vec<(usize, Ipv4Addr)>,
    /// Networks that dnsmasq serves: an address in each, and whether it gives out addresses there.
    pub(super) ranges: Vec<(usize, Ipv4Addr, bool)>,
    /// Whether dnsmasq gives out addresses.
    pub(super) leases: bool,
    /// Tags that ranges set.
    pub(super) range_tags: Vec<(usize, String)>,
    pub(super) root: Option<(usize, String)>,
    /// Roots for single interfaces: line, interface, path.
    pub(super) roots: Vec<(usize, String, String)>,
    pub(super) boots: Vec<Choice>,
    /// Option 67: what boots where no `dhcp-boot` does.
    pub(super) bootfiles: Vec<Choice>,
    pub(super) services: Vec<Choice>,
    /// Option 66: the machine that has the files.
    pub(super) server: Option<Ipv4Addr>,
    pub(super) prompt: Option<(usize, String, Option<u8>)>,
    pub(super) ignores: Vec<Ignore>,
    /// Whether only machines with a `dhcp-host` are served: the line that says so.
    pub(super) known_only: Option<usize>,
    /// Machines with a `dhcp-host` line.
    pub(super) known: Vec<(usize, String)>,
    pub(super) blksize: Option<(usize, u16)>,
    pub(super) transfers: Option<(usize, u32)>,
    pub(super) tags: Tags,
    /// Lines that set a tag, and in words what for.
    pub(super) setters: Vec<(usize, String, String)>,
}

impl Old {
    pub(super) fn verdict(&mut self, at: usize, verdict: Verdict) {
        if let Some(slot) = self.verdicts.get_mut(at) {
            *slot = Some(verdict);
        }
    }

    /// Whether firmware shows a menu before it boots: there is a choice, or a prompt that waits for one.
    pub(super) fn has_menu(&self, decision: &Decision) -> bool {
        let service = |at: usize| self.services.iter().find(|service| service.at == at);
        let has_local =
            decision.beside.iter().filter_map(|at| service(*at)).any(|other| other.what == What::Local);
        let waits = matches!(self.prompt, Some((_, _, None)));
        matches!(decision.target, Target::File(_))
            && decision.at.and_then(service).is_some()
            && (has_local || waits)
    }

    /// A comment that names lines, for the new file.
    pub(super) fn source(&self, lines: impl IntoIterator<Item = usize>) -> Vec<String> {
        let mut lines: Vec<usize> = lines.into_iter().collect();
        lines.sort_unstable();
        lines.dedup();
        let lines = lines.into_iter().filter_map(|at| self.lines.get(at));
        lines.map(|line| format!("{}: {}", line.place, super::finding::shortened(&line.text))).collect()
    }
}

/// A network interface of this host, as far as the import wants to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostInterface {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    pub(super) mask: Ipv4Addr,
}
