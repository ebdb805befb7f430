//! The file as it is written. serde checks syntax and types here; `check` checks everything else, and adds the line.
//!
//! The comments of the keys are also the descriptions in the schema. Only tests derive the schema, because schemars and its
//! dependencies would add about 25 s to each build of the program, and the program only prints the committed file.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

#[cfg(test)]
use super::bounds::MIB_MAX;
#[cfg(test)]
use super::schema_types::{self, WordsSchema};
#[cfg(test)]
use super::words::Action;
#[cfg(test)]
use crate::confine::Confinement;
#[cfg(test)]
use pxe_engine::plan::{DatapathChoice, ModeChoice, OffloadChoice};
#[cfg(test)]
use pxe_engine::segment::{RESPONDERS_MAX, WEIGHT_MAX};
#[cfg(test)]
use pxe_proto::dhcp::Style;
#[cfg(test)]
use pxe_proto::tftp::packet::BLKSIZE_RANGE;

/// The configuration of pxed: what the daemon serves where, and which machine boots what.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, schemars(title = "pxed.toml"))]
pub(super) struct Raw {
    /// The interfaces in the machines' network (read at the start).
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub(super) interfaces: Vec<Spanned<String>>,
    /// The address that machines load files from; the interface's first one if not given (read at the start).
    pub(super) address: Option<Ipv4Addr>,
    /// The directory for what pxed knows of machines; without it, that knowledge ends with the daemon (read at the start).
    pub(super) state: Option<PathBuf>,
    /// The Unix socket for `pxed status` and other commands (read at the start).
    pub(super) socket: Option<PathBuf>,
    /// The boot tree for every machine without an image of its own; without it, the installed memtest86+.
    pub(super) root: Option<PathBuf>,
    /// Follow links out of `root` that root or its owner made.
    pub(super) links: Option<bool>,
    /// The file that each architecture starts with.
    #[cfg_attr(test, schemars(schema_with = "schema_types::by_arch"))]
    pub(super) boot_files: BTreeMap<String, Spanned<String>>,
    /// Memory for boot files, in MiB; half of what is available if not given.
    #[cfg_attr(test, schemars(with = "u64", range(min = 1, max = MIB_MAX)))]
    pub(super) memory_mib: Option<Spanned<u64>>,
    /// How packets reach the daemon (read at the start).
    #[cfg_attr(test, schemars(with = "WordsSchema<DatapathChoice>"))]
    pub(super) datapath: Option<Spanned<String>>,
    /// Where the XDP program runs (read at the start).
    #[cfg_attr(test, schemars(with = "WordsSchema<ModeChoice>"))]
    pub(super) xdp_mode: Option<Spanned<String>>,
    /// Where the kernel answers ACKs by itself (read at the start).
    #[cfg_attr(test, schemars(with = "WordsSchema<OffloadChoice>"))]
    pub(super) offload: Option<Spanned<String>>,
    /// Memory for the files that the kernel sends by itself, in MiB per interface (read at the start).
    #[cfg_attr(test, schemars(with = "u64", range(min = 1, max = MIB_MAX)))]
    pub(super) offload_memory_mib: Option<Spanned<u64>>,
    /// How pxed offers boot files, unless a rule has its own style.
    #[cfg_attr(test, schemars(with = "WordsSchema<Style>"))]
    pub(super) style: Option<Spanned<String>>,
    /// The text of the boot menu's prompt.
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) menu_prompt: Option<Spanned<String>>,
    /// Seconds until the boot menu takes its first entry.
    pub(super) menu_timeout: Option<u8>,
    /// The URL on another HTTP server that each architecture gets for UEFI HTTP boot.
    #[cfg_attr(test, schemars(schema_with = "schema_types::by_arch"))]
    pub(super) http_urls: BTreeMap<String, Spanned<String>>,
    /// Let iPXE prefer a boot file that the network's DHCP server names.
    pub(super) yield_ipxe: Option<bool>,
    /// Most transfers at a time; further requests wait (read at the start).
    #[cfg_attr(test, schemars(with = "u32", range(min = 1)))]
    pub(super) transfers: Option<Spanned<u32>>,
    /// Most blocks in a TFTP window (read at the start).
    #[cfg_attr(test, schemars(with = "u16", range(min = 1)))]
    pub(super) windowsize: Option<Spanned<u16>>,
    /// Serve machines whose frames come from another Ethernet address than their requests name (read at the start).
    pub(super) foreign_chaddr: Option<bool>,
    /// The user that the daemon becomes when root starts it (read at the start).
    pub(super) user: Option<String>,
    /// Whether the daemon gives up the rights that only its start needs (read at the start).
    #[cfg_attr(test, schemars(with = "WordsSchema<Confinement>"))]
    pub(super) confinement: Option<Spanned<String>>,
    /// HTTP on the interfaces' addresses: boot files, and reports of memory tests.
    pub(super) http: Option<Http>,
    /// The web page, the API and the metrics.
    #[cfg_attr(test, schemars(with = "Board"))]
    pub(super) board: Option<Spanned<Board>>,
    /// Files that machines may upload; off unless this table is there.
    #[cfg_attr(test, schemars(with = "Inbox"))]
    pub(super) inbox: Option<Spanned<Inbox>>,
    /// The machines that pxed serves; without this table, all.
    #[cfg_attr(test, schemars(with = "Access"))]
    pub(super) access: Option<Spanned<Access>>,
    /// How often one source may ask; more frequent requests get no answer.
    pub(super) limits: RateLimitKeys,
    /// The responders that share this network; without this table, this one answers every machine.
    #[cfg_attr(test, schemars(with = "Segment"))]
    pub(super) segment: Option<Spanned<Segment>>,
    /// What pxed remembers of machines.
    pub(super) fleet: Fleet,
    /// A PostgreSQL database that several responders share; it needs `state`.
    #[cfg_attr(test, schemars(with = "Ledger"))]
    pub(super) ledger: Option<Spanned<Ledger>>,
    /// What all images with a `source` share.
    #[cfg_attr(test, schemars(with = "Upstream"))]
    pub(super) upstream: Option<Spanned<Upstream>>,
    /// What machines boot, by name; the files of an image with a root are served below its name.
    #[cfg_attr(test, schemars(schema_with = "schema_types::images::<Image>"))]
    pub(super) images: BTreeMap<String, Spanned<Image>>,
    /// Which machine boots what: the first rule that matches wins.
    #[cfg_attr(test, schemars(with = "Vec<Rule>"))]
    pub(super) rules: Vec<Spanned<Rule>>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a table, such as `[http]` with `port = 8080` below it")]
pub(super) struct Http {
    /// The TCP port on every interface's address (read at the start).
    #[cfg_attr(test, schemars(with = "u16", range(min = 1)))]
    pub(super) port: Spanned<u16>,
    /// Let iPXE load its script, and so everything else, over HTTP (read at the start).
    #[serde(default)]
    pub(super) ipxe: bool,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    deny_unknown_fields,
    expecting = "a table, such as `[board]` with `listen = \"127.0.0.1:7467\"` below it"
)]
pub(super) struct Board {
    /// The address and port to listen on; beyond this host it needs `token_file` (read at the start).
    #[cfg_attr(test, schemars(extend("examples" = ["127.0.0.1:7467"])))]
    pub(super) listen: SocketAddr,
    /// A file with the token: one line of 16 or more characters (read at the start).
    pub(super) token_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    deny_unknown_fields,
    expecting = "a table, such as `[inbox]` with `directory = \"/srv/inbox\"` below it"
)]
pub(super) struct Inbox {
    /// The directory for the files, with a directory below it for each machine (read at the start).
    pub(super) directory: PathBuf,
    /// Most MiB in one file (read at the start).
    #[cfg_attr(test, schemars(with = "Option<u64>", range(min = 1, max = MIB_MAX)))]
    pub(super) file_mib: Option<Spanned<u64>>,
    /// Most MiB of one machine (read at the start).
    #[cfg_attr(test, schemars(with = "Option<u64>", range(min = 1, max = MIB_MAX)))]
    pub(super) machine_mib: Option<Spanned<u64>>,
    /// Most MiB of all machines (read at the start).
    #[cfg_attr(test, schemars(with = "Option<u64>", range(min = 1, max = MIB_MAX)))]
    pub(super) total_mib: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    deny_unknown_fields,
    expecting = "a table, such as `[access]` with `allow = [\"52:54:00:*\"]` below it"
)]
pub(super) struct Access {
    /// Ethernet addresses, makers (`52:54:00:*`) and networks (`10.1.0.0/16`).
    #[cfg_attr(test, schemars(with = "Vec<String>", length(min = 1)))]
    pub(super) allow: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table, such as `[limits]` with `tftp_rate = 100` below it"
)]
pub(super) struct RateLimitKeys {
    /// DHCP requests of one machine that pxed answers a second, in the long run; 0 for no limit.
    pub(super) dhcp_rate: Option<u32>,
    /// DHCP requests of one machine that pxed answers at once.
    #[cfg_attr(test, schemars(with = "u32", range(min = 1)))]
    pub(super) dhcp_burst: Option<Spanned<u32>>,
    /// Requests for files from one IPv4 address that pxed answers a second, in the long run; 0 for no limit.
    pub(super) tftp_rate: Option<u32>,
    /// Requests for files from one IPv4 address that pxed answers at once.
    #[cfg_attr(test, schemars(with = "u32", range(min = 1)))]
    pub(super) tftp_burst: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    deny_unknown_fields,
    expecting = "a table, such as `[segment]` with `name = \"lab-1\"`, and `[[segment.responders]]` below it"
)]
pub(super) struct Segment {
    /// The segment's name, the same on all of its responders.
    pub(super) name: String,
    /// This responder's name in the list; the host's name if not given.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) responder: Option<Spanned<String>>,
    /// Without a list: this responder's share of the machines, in proportion to the others' weights.
    #[cfg_attr(test, schemars(with = "Option<u32>", range(min = 1, max = WEIGHT_MAX)))]
    pub(super) weight: Option<Spanned<u32>>,
    /// All responders of the segment, this one included; without a list, they find one another in the ledger.
    #[cfg_attr(test, schemars(with = "Option<Vec<SegmentResponder>>", length(min = 1, max = RESPONDERS_MAX)))]
    pub(super) responders: Option<Vec<Spanned<SegmentResponder>>>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    deny_unknown_fields,
    expecting = "a table, such as `[[segment.responders]]` with `name = \"a\"` below it"
)]
pub(super) struct SegmentResponder {
    /// The responder's name, as in its own `responder`.
    pub(super) name: String,
    /// Its share of the machines, in proportion to the others' weights; 1 if not given.
    #[cfg_attr(test, schemars(with = "Option<u32>", range(min = 1, max = WEIGHT_MAX)))]
    pub(super) weight: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table, such as `[fleet]` with `retention_days = 30` below it"
)]
pub(super) struct Fleet {
    /// Days for which pxed keeps steps and boots; names and counts for `once` stay (read at the start).
    #[cfg_attr(test, schemars(with = "u32", range(min = 1)))]
    pub(super) retention_days: Option<Spanned<u32>>,
    /// Seconds without a report after which a test is shown as silent (read at the start).
    #[cfg_attr(test, schemars(with = "u32", range(min = 1)))]
    pub(super) silence_s: Option<Spanned<u32>>,
    /// A file to which pxed appends every step as a line of JSON (read at the start).
    pub(super) events: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    deny_unknown_fields,
    expecting = "a table, such as `[ledger]` with `url = \"postgres://pxed@db.example/pxed\"` below it"
)]
pub(super) struct Ledger {
    /// The database, without a password: `postgres://USER@HOST/DATABASE` (read at the start).
    #[cfg_attr(test, schemars(with = "String", regex(pattern = r"^postgres(ql)?://")))]
    pub(super) url: Spanned<String>,
    /// A file with the password on one line (read at the start).
    pub(super) password_file: Option<PathBuf>,
    /// A file with the authorities of the database's certificate, in PEM; the system's if not given (read at the start).
    pub(super) ca_file: Option<PathBuf>,
    /// The name of this responder, unique in the database; the host's name if not given (read at the start).
    #[cfg_attr(test, schemars(with = "Option<String>", length(min = 1, max = 64)))]
    pub(super) responder: Option<Spanned<String>>,
    /// Most MiB that wait on this host while the database is away (read at the start).
    #[cfg_attr(test, schemars(with = "Option<u64>", range(min = 1, max = MIB_MAX)))]
    pub(super) spool_mib: Option<Spanned<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table, such as `[upstream]` with `s3_endpoint = \"https://s3.example\"` below it"
)]
pub(super) struct Upstream {
    /// The directory for fetched files; if not given, one below `state`, or /var/cache/pxed (read at the start).
    pub(super) cache: Option<PathBuf>,
    /// Most MiB in the cache; an old and a new version of an image must fit (read at the start).
    #[cfg_attr(test, schemars(with = "Option<u64>", range(min = 1, max = MIB_MAX)))]
    pub(super) cache_mib: Option<Spanned<u64>>,
    /// Minutes between two looks at a source whose files are not all pinned by `sha256` (read at the start).
    #[cfg_attr(test, schemars(with = "Option<u32>", range(min = 1)))]
    pub(super) every_minutes: Option<Spanned<u32>>,
    /// A file with the authorities of the servers' certificates, in PEM; the system's if not given (read at the start).
    pub(super) ca_file: Option<PathBuf>,
    /// The store of `s3://` sources: `https://HOST:PORT` (read at the start).
    #[cfg_attr(test, schemars(with = "Option<String>", regex(pattern = r"^https?://")))]
    pub(super) s3_endpoint: Option<Spanned<String>>,
    /// The store's region; us-east-1 if not given (read at the start).
    pub(super) s3_region: Option<String>,
    /// A file with the key's ID and the secret key, on two lines (read at the start).
    pub(super) s3_credentials_file: Option<PathBuf>,
}

/// What machines boot; an empty table is what machines get without rules.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table, such as `[images.NAME]` with `root = \"/srv/NAME\"` below it"
)]
pub(super) struct Image {
    /// The image's directory; without it, the files are those that every machine gets.
    pub(super) root: Option<PathBuf>,
    /// Follow links out of `root` that root or its owner made.
    pub(super) links: Option<bool>,
    /// The folder elsewhere that has the image's files: `https://HOST/FOLDER/` or `s3://BUCKET/PREFIX/`.
    #[cfg_attr(test, schemars(with = "String", regex(pattern = r"^(https?|s3)://.*/$")))]
    pub(super) source: Option<Spanned<String>>,
    /// More files of `source`, beside those that other keys name; without any, all below the prefix.
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub(super) files: Vec<Spanned<String>>,
    /// The SHA-256 that files of `source` must have; pxed asks for no changes of such files.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, String>"))]
    pub(super) sha256: BTreeMap<String, Spanned<String>>,
    /// The file that each architecture starts with.
    #[cfg_attr(test, schemars(schema_with = "schema_types::by_arch"))]
    pub(super) boot_files: BTreeMap<String, Spanned<String>>,
    /// A kernel that BIOS and UEFI machines start.
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) kernel: Option<Spanned<String>>,
    /// The kernel's initramfs files.
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub(super) initrd: Vec<Spanned<String>>,
    /// The kernel's command line, a template.
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) args: Option<Spanned<String>>,
    /// An iPXE script, a template that begins with `#!ipxe`.
    #[cfg_attr(test, schemars(with = "String", regex(pattern = r"^#!ipxe")))]
    pub(super) ipxe: Option<Spanned<String>>,
    /// A configuration of PXELINUX, a template.
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) pxelinux: Option<Spanned<String>>,
    /// A configuration of GRUB, a template.
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) grub: Option<Spanned<String>>,
    /// The last file that a boot needs: pxed counts a boot when a machine has it.
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) payload: Option<Spanned<String>>,
}

/// Which machines boot what; a rule has either `image` or `action`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table, such as `[[rules]]` with `image = \"NAME\"` below it"
)]
#[cfg_attr(test, schemars(extend("oneOf" = [{ "required": ["image"] }, { "required": ["action"] }])))]
pub(super) struct Rule {
    /// The name in logs and counts, unique among rules; `rule N` if not given.
    pub(super) name: Option<String>,
    /// The conditions, all of which must hold; without any, the rule matches every machine.
    #[serde(rename = "match")]
    pub(super) conditions: Conditions,
    /// The image that the machine boots.
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) image: Option<Spanned<String>>,
    /// What happens in place of an image.
    #[cfg_attr(test, schemars(with = "WordsSchema<Action>"))]
    pub(super) action: Option<Spanned<String>>,
    /// How pxed offers the boot file.
    #[cfg_attr(test, schemars(with = "WordsSchema<Style>"))]
    pub(super) style: Option<Spanned<String>>,
    /// The address of another machine that has the files.
    pub(super) boot_server: Option<Ipv4Addr>,
    /// Boot the image once, then the machine's own disk.
    pub(super) once: bool,
    /// Boot the image so many times, then the machine's own disk.
    #[cfg_attr(test, schemars(with = "u32", range(min = 1)))]
    pub(super) boots: Option<Spanned<u32>>,
    /// The largest TFTP block; needs conditions on mac, vlan and interface only.
    #[cfg_attr(test, schemars(with = "u16", range(min = *BLKSIZE_RANGE.start(), max = *BLKSIZE_RANGE.end())))]
    pub(super) blksize: Option<Spanned<u16>>,
    /// The largest TFTP window in blocks; needs conditions on mac, vlan and interface only.
    #[cfg_attr(test, schemars(with = "u16", range(min = 1)))]
    pub(super) windowsize: Option<Spanned<u16>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "a table of conditions, such as `{ mac = \"52:54:00\" }`")]
pub(super) struct Conditions {
    /// Ethernet addresses, or the three bytes of a maker (`aa:bb:cc`).
    #[cfg_attr(test, schemars(with = "OneOrMany<String>"))]
    pub(super) mac: Option<Spanned<OneOrMany<String>>>,
    /// The machine's UUID (option 97).
    #[cfg_attr(test, schemars(with = "OneOrMany<String>"))]
    pub(super) uuid: Option<Spanned<OneOrMany<String>>>,
    /// Architectures: names in lower case, or numbers of option 93.
    #[cfg_attr(test, schemars(with = "OneOrMany<schema_types::ArchWord>"))]
    pub(super) arch: Option<Spanned<OneOrMany<Word>>>,
    /// The vendor class (option 60), with `*` for any text.
    #[cfg_attr(test, schemars(with = "OneOrMany<String>"))]
    pub(super) class: Option<Spanned<OneOrMany<String>>>,
    /// The user class (option 77), with `*` for any text.
    #[cfg_attr(test, schemars(with = "OneOrMany<String>"))]
    pub(super) user_class: Option<Spanned<OneOrMany<String>>>,
    /// The relay's address or network; `none` is without a relay.
    #[cfg_attr(test, schemars(with = "OneOrMany<String>"))]
    pub(super) relay: Option<Spanned<OneOrMany<String>>>,
    /// VLANs; 0 is untagged.
    #[cfg_attr(test, schemars(with = "OneOrMany<schema_types::Vlan>"))]
    pub(super) vlan: Option<Spanned<OneOrMany<u16>>>,
    /// The interfaces that the request came in on.
    #[cfg_attr(test, schemars(with = "OneOrMany<String>"))]
    pub(super) interface: Option<Spanned<OneOrMany<String>>>,
}

// This type has no doc comment, because the schema would show it for every key of this type. A value is `"x"` or `["x", "y"]`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "one value or a list of them, of the right type")]
#[cfg_attr(test, schemars(inline))]
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

/// A name or a number, because an architecture has both.
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
