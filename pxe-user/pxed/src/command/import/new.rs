//! The new configuration, before it is text.

use std::net::Ipv4Addr;

use pxe_content::rules::{Glob, Matcher};
use pxe_proto::dhcp::Arch;

/// A value, and the lines that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Noted<T> {
    pub(super) value: T,
    /// For a comment, a line each.
    pub(super) from: Vec<String>,
}

/// Files by architecture.
pub(super) type Files = Vec<(Arch, Noted<String>)>;

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) name: String,
    pub(super) root: Option<String>,
    pub(super) boot_files: Files,
    /// A URL that iPXE goes on with.
    pub(super) url: Option<Noted<String>>,
}

/// What a rule asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    pub(super) mac: Vec<String>,
    pub(super) arch: Vec<Arch>,
    pub(super) class: Option<String>,
    pub(super) user_class: Option<String>,
    pub(super) interface: Option<String>,
}

impl Conditions {
    /// The same as pxed will read it. What it would not understand is left out: a test reads all that the import writes.
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

    /// Whether nothing is asked that a request for a file does not show, so that a rule may limit transfers.
    pub(super) fn asks_clients_only(&self) -> bool {
        self.arch.is_empty() && self.class.is_none() && self.user_class.is_none()
    }
}

/// What a rule leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Image(String),
    Local,
    Ignore,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) conditions: Conditions,
    pub(super) outcome: Outcome,
    pub(super) boot_server: Option<Ipv4Addr>,
    pub(super) blksize: Option<u16>,
    /// Whether its machines were shown a menu.
    pub(super) has_menu: bool,
    /// How machines are told, where that is not as for all.
    pub(super) style: Option<&'static str>,
    pub(super) from: Vec<String>,
}

/// The whole file.
#[derive(Clone, Debug, Default)]
pub(super) struct New {
    pub(super) interfaces: Vec<Noted<String>>,
    pub(super) root: Option<Noted<String>>,
    pub(super) boot_files: Files,
    pub(super) menu: Option<Noted<(Option<String>, u8)>>,
    pub(super) transfers: Option<Noted<u32>>,
    pub(super) http_urls: Files,
    pub(super) allow: Option<Noted<Vec<String>>>,
    pub(super) images: Vec<Image>,
    pub(super) rules: Vec<Rule>,
}
