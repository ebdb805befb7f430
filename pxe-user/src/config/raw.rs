//! The file as it is written. Everything that could be wrong beyond its syntax is judged in `check`, with its line.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    pub(super) interfaces: Vec<Spanned<String>>,
    pub(super) address: Option<Ipv4Addr>,
    pub(super) state: Option<PathBuf>,
    pub(super) socket: Option<PathBuf>,
    pub(super) root: Option<PathBuf>,
    pub(super) links: Option<bool>,
    pub(super) boot_files: BTreeMap<String, Spanned<String>>,
    pub(super) memory_mib: Option<Spanned<u64>>,
    pub(super) datapath: Option<Spanned<String>>,
    pub(super) xdp_mode: Option<Spanned<String>>,
    pub(super) offload: Option<Spanned<String>>,
    pub(super) offload_memory_mib: Option<Spanned<u64>>,
    pub(super) style: Option<Spanned<String>>,
    pub(super) menu_prompt: Option<Spanned<String>>,
    pub(super) menu_timeout: Option<u8>,
    pub(super) http_urls: BTreeMap<String, Spanned<String>>,
    pub(super) yield_ipxe: Option<bool>,
    pub(super) transfers: Option<Spanned<u32>>,
    pub(super) windowsize: Option<Spanned<u16>>,
    pub(super) user: Option<String>,
    pub(super) confinement: Option<Spanned<String>>,
    pub(super) http: Option<Http>,
    pub(super) board: Option<Spanned<Board>>,
    pub(super) inbox: Option<Spanned<Inbox>>,
    pub(super) access: Option<Spanned<Access>>,
    pub(super) limits: Limits,
    pub(super) fleet: Fleet,
    pub(super) images: BTreeMap<String, Spanned<Image>>,
    pub(super) rules: Vec<Spanned<Rule>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    pub(super) port: Spanned<u16>,
    #[serde(default)]
    pub(super) ipxe: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Board {
    pub(super) listen: SocketAddr,
    pub(super) token_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inbox {
    pub(super) directory: PathBuf,
    pub(super) file_mib: Option<u64>,
    pub(super) machine_mib: Option<u64>,
    pub(super) total_mib: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Access {
    pub(super) allow: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) dhcp_rate: Option<u32>,
    pub(super) dhcp_burst: Option<Spanned<u32>>,
    pub(super) tftp_rate: Option<u32>,
    pub(super) tftp_burst: Option<Spanned<u32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Fleet {
    pub(super) retention_days: Option<Spanned<u32>>,
    pub(super) silence_s: Option<Spanned<u32>>,
    pub(super) events: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Image {
    pub(super) root: Option<PathBuf>,
    pub(super) links: Option<bool>,
    pub(super) boot_files: BTreeMap<String, Spanned<String>>,
    pub(super) kernel: Option<Spanned<String>>,
    pub(super) initrd: Vec<Spanned<String>>,
    pub(super) args: Option<Spanned<String>>,
    pub(super) ipxe: Option<Spanned<String>>,
    pub(super) pxelinux: Option<Spanned<String>>,
    pub(super) grub: Option<Spanned<String>>,
    pub(super) payload: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rule {
    pub(super) name: Option<String>,
    #[serde(rename = "match")]
    pub(super) conditions: Conditions,
    pub(super) image: Option<Spanned<String>>,
    pub(super) action: Option<Spanned<String>>,
    pub(super) style: Option<Spanned<String>>,
    pub(super) boot_server: Option<Ipv4Addr>,
    pub(super) once: bool,
    pub(super) boots: Option<Spanned<u32>>,
    pub(super) blksize: Option<Spanned<u16>>,
    pub(super) windowsize: Option<Spanned<u16>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Conditions {
    pub(super) mac: Option<Spanned<OneOrMany<String>>>,
    pub(super) uuid: Option<Spanned<OneOrMany<String>>>,
    pub(super) arch: Option<Spanned<OneOrMany<Word>>>,
    pub(super) class: Option<Spanned<OneOrMany<String>>>,
    pub(super) user_class: Option<Spanned<OneOrMany<String>>>,
    pub(super) relay: Option<Spanned<OneOrMany<String>>>,
    pub(super) vlan: Option<Spanned<OneOrMany<u16>>>,
    pub(super) interface: Option<Spanned<OneOrMany<String>>>,
}

/// `"x"` or `["x", "y"]`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "one value or a list of them, of the right type")]
pub(super) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    pub(super) fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// A name or a number, as architectures have both.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a name or a number")]
pub(super) enum Word {
    Text(String),
    Number(u16),
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}
