//! The new configuration as data. `build` makes it, and `write` turns it into text.

use std::net::Ipv4Addr;

use pxe_content::rules::{Glob, Matcher};
use pxe_proto::dhcp::Arch;

/// A value, and the source lines that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Noted<T> {
    pub(super) value: T,
    /// The source lines, for one comment line each.
    pub(super) from: Vec<String>,
}

/// Boot files or URLs, by architecture.
pub(super) type Files = Vec<(Arch, Noted<String>)>;

/// An image: one table `[images.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) name: String,
    pub(super) root: Option<String>,
    pub(super) boot_files: Files,
    /// The URL that the image's iPXE script chains to.
    pub(super) url: Option<Noted<String>>,
}

/// The conditions of a rule. An empty field is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    pub(super) mac: Vec<String>,
    pub(super) arch: Vec<Arch>,
    pub(super) class: Option<String>,
    pub(super) user_class: Option<String>,
    pub(super) interface: Option<String>,
}

impl Conditions {
    /// The same conditions as pxed reads them. An address that pxed cannot parse is left out here; a test makes sure that pxed
    /// reads all that the import writes.
    pub(super) fn matcher(&self) -> Matcher {
        let globs = |text: &Option<String>| text.iter().map(|text| Glob::new(text)).collect();
        Matcher {
            mac: self.mac.iter().filter_map(|mac| mac.parse().ok()).collect(),
            arch: self.arch.clone(),
            class: globs(&self.class),
            user_class: globs(&self.user_class),
            interface: self.interface.iter().cloned().collect(),
            ..Matcher::default()
        }
    }

    /// Whether a request for a file shows everything that the conditions ask for. Only then may the rule limit transfers.
    pub(super) fn asks_clients_only(&self) -> bool {
        self.arch.is_empty() && self.class.is_none() && self.user_class.is_none()
    }
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Image(String),
    Local,
    Ignore,
}

/// A rule: one table `[[rules]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) conditions: Conditions,
    pub(super) outcome: Action,
    pub(super) boot_server: Option<Ipv4Addr>,
    pub(super) blksize: Option<u16>,
    /// Whether dnsmasq shows a menu to these machines.
    pub(super) has_menu: bool,
    /// How pxed offers the boot file. `None` for the style of the whole file.
    pub(super) style: Option<&'static str>,
    pub(super) from: Vec<String>,
}

/// The whole file.
#[derive(Clone, Debug, Default)]
pub(super) struct New {
    pub(super) interfaces: Vec<Noted<String>>,
    pub(super) root: Option<Noted<String>>,
    pub(super) boot_files: Files,
    /// The prompt, if it fits, and the seconds until the menu takes its first entry; 255 waits for a choice.
    pub(super) menu: Option<Noted<(Option<String>, u8)>>,
    pub(super) transfers: Option<Noted<u32>>,
    pub(super) http_urls: Files,
    pub(super) allow: Option<Noted<Vec<String>>>,
    pub(super) images: Vec<Image>,
    pub(super) rules: Vec<Rule>,
}
