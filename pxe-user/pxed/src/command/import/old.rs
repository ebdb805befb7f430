//! What a dnsmasq configuration says about booting, line by line. `gather` fills it, and sets the disposition of lines that stand for
//! themselves. Lines that choose a boot file get their disposition from `convert`, when their effect is known.

use std::net::Ipv4Addr;

use super::finding::Disposition;
use super::lines::Line;
use super::tags::{Need, Tags};

/// What a line offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A file's name, or a URL.
    File(String),
    /// The machine's own disk.
    Local,
    /// A boot server of this type, which the machine finds by itself.
    Discover(u16),
}

/// A line that chooses what machines boot.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// Index of the line in [`Old::lines`].
    pub(super) at: usize,
    pub(super) needs: Vec<Need>,
    /// The architecture code, for `pxe-service` only.
    pub(super) arch: Option<u16>,
    pub(super) what: What,
    /// Another machine that has the file. `None` for this host.
    pub(super) server: Option<Ipv4Addr>,
}

/// A line that makes dnsmasq ignore machines.
#[derive(Clone, Debug)]
pub(super) struct Ignore {
    pub(super) at: usize,
    pub(super) needs: Vec<Need>,
}

/// The old configuration. A `usize` beside a value is the index of its line in `lines`.
#[derive(Debug, Default)]
pub(super) struct Old {
    pub(super) lines: Vec<Line>,
    /// The disposition of each line, in the same order. `None` while the disposition is not known.
    pub(super) dispositions: Vec<Option<Disposition>>,
    /// The names that `interface` lists; `*` at the end of a name stands for any text.
    pub(super) interfaces: Vec<(usize, String)>,
    pub(super) excepted: Vec<(usize, String)>,
    pub(super) listening: Vec<(usize, Ipv4Addr)>,
    /// Networks that dnsmasq serves: line, an address in the network, and whether dnsmasq gives out addresses there.
    pub(super) ranges: Vec<(usize, Ipv4Addr, bool)>,
    /// Whether dnsmasq gives out addresses in any network.
    pub(super) leases: bool,
    /// Tags that `dhcp-range` lines set.
    pub(super) range_tags: Vec<(usize, String)>,
    pub(super) root: Option<(usize, String)>,
    /// Roots for single interfaces: line, interface, path.
    pub(super) roots: Vec<(usize, String, String)>,
    pub(super) boots: Vec<Choice>,
    /// Option 67: the boot file if no `dhcp-boot` line fits.
    pub(super) bootfiles: Vec<Choice>,
    pub(super) services: Vec<Choice>,
    /// Options 66 and 150: another machine that has the files.
    pub(super) server: Option<Ipv4Addr>,
    /// The line, the prompt, and the seconds until the menu takes its first entry. `None` waits for a choice.
    pub(super) prompt: Option<(usize, String, Option<u8>)>,
    pub(super) ignores: Vec<Ignore>,
    /// The line that restricts service to machines with a `dhcp-host` line. `None` if there is none.
    pub(super) known_only: Option<usize>,
    /// Addresses of machines with a `dhcp-host` line.
    pub(super) known: Vec<(usize, String)>,
    pub(super) blksize: Option<(usize, u16)>,
    pub(super) transfers: Option<(usize, u32)>,
    pub(super) tags: Tags,
    /// Lines that set a tag: line, tag, and the condition in words. The words are empty if no rule can have the condition.
    pub(super) setters: Vec<(usize, String, String)>,
}

impl Old {
    pub(super) fn disposition(&mut self, at: usize, disposition: Disposition) {
        if let Some(slot) = self.dispositions.get_mut(at) {
            *slot = Some(disposition);
        }
    }

    /// The source lines as texts, for a comment in the new file.
    pub(super) fn source(&self, lines: impl IntoIterator<Item = usize>) -> Vec<String> {
        let mut lines: Vec<usize> = lines.into_iter().collect();
        lines.sort_unstable();
        lines.dedup();
        let lines = lines.into_iter().filter_map(|at| self.lines.get(at));
        lines.map(|line| format!("{}: {}", line.place, super::finding::shortened(&line.text))).collect()
    }
}

/// An IPv4 address of this host, with its interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostInterface {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    pub(super) mask: Ipv4Addr,
}
