//! `pxed.toml`: what the daemon serves where, and which machine gets what. Reading it needs no privileges and opens no other
//! file.
//!
//! ```text
//! text --> Raw, with every mistake (parse) --> Config, and problems with their lines (diagnostics) --> Options, rules, images
//! ```
//! `docs/pxed.toml` is an example with every key; a test reads it. `docs/pxed.schema.json` is for editors; a test generates it
//! from the types and comments of `raw`.

mod diagnostics;
mod limits;
mod parse;
mod raw;
mod rule;
#[cfg(test)]
mod schema;
pub(crate) mod words;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::confine::Confinement;
use pxe_content::boot::{ImageSpec, Links};
use pxe_content::rules::{Access, Matcher, RuleLimits};
use pxe_engine::plan::{DatapathChoice, ModeChoice, OffloadChoice};
use pxe_proto::dhcp::{Arch, Style, Url};

pub use pxe_engine::responder::{RateLimit, RateLimits};

/// The JSON schema of `pxed.toml`, for editors.
pub const SCHEMA: &str = include_str!("../../../../docs/pxed.schema.json");

/// How bad a problem is. An error is greater than a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// pxed can use the file, but part of it surely has another effect than its author wants.
    Warning,
    /// pxed cannot use the file.
    Error,
}

/// A problem in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1. `None` if the problem has no single line.
    pub line: Option<usize>,
    /// Whether pxed can still use the file.
    pub severity: Severity,
    /// What is wrong, and what to do about it.
    pub text: String,
}

impl Severity {
    /// The word for messages: `warning` or `error`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Problem {
    /// The problem of an empty file. Without rules, pxed serves every machine. Nobody wants that from an empty file, which is
    /// most likely being written at this moment.
    #[must_use]
    pub fn empty_file() -> Self {
        let text = "the file is empty: write it under another name first, then rename it".to_owned();
        Self { line: None, severity: Severity::Error, text }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = self.severity.as_str();
        match self.line {
            Some(line) => write!(f, "line {line}: {severity}: {}", self.text),
            None => write!(f, "{severity}: {}", self.text),
        }
    }
}

/// Why pxed cannot use the file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}{}", path.display(), remedy(error))]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The file has errors.
    #[error("{} is rejected: {}", path.display(), list(problems))]
    Invalid {
        /// The path of the file.
        path: PathBuf,
        /// All problems of the file, warnings included.
        problems: Vec<Problem>,
    },
}

fn remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "; make it readable by the user pxed runs as (chmod o+r, or its group)"
        }
        _ => "",
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What a rule does. Images are given by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The machine boots the image of this name.
    Image(Arc<str>),
    /// The machine boots its own disk.
    Local,
    /// pxed does not answer the machine.
    Ignore,
}

/// A rule of the file, with all values parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// The rule's name as given, or `rule N` with N from 1. Boots are counted under this name.
    pub name: Arc<str>,
    /// The line where the rule begins, from 1.
    pub line: usize,
    /// The conditions for the machines that the rule matches.
    pub matcher: Matcher,
    /// What the rule does.
    pub outcome: Outcome,
    /// How pxed offers the boot file. `None` for the style of the whole file.
    pub style: Option<Style>,
    /// Another machine that has the files. `None` for this host.
    pub boot_server: Option<Ipv4Addr>,
    /// How many times a machine boots the image before it boots its own disk. `None` for no limit.
    pub boots: Option<u32>,
    /// Upper limits of the TFTP options that pxed grants to these machines.
    pub limits: RuleLimits,
}

/// HTTP on the machines' network, for boot files and reports (`[http]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http {
    /// The TCP port, on the address of every interface.
    pub port: u16,
    /// Whether iPXE loads its script, and so everything else, over HTTP.
    pub ipxe: bool,
}

/// The web page, the API and the metrics (`[board]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// The address and port to listen on.
    pub listen: SocketAddr,
    /// The file with the token. `None` is an error unless `listen` is a loopback address.
    pub token_file: Option<PathBuf>,
}

/// The files that machines upload (`[inbox]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxSettings {
    /// The directory for the files, with a directory in it for each machine.
    pub directory: PathBuf,
    /// The largest size of one file, in bytes.
    pub file: u64,
    /// The largest size of all files of one machine, in bytes.
    pub machine: u64,
    /// The largest size of all files of all machines, in bytes.
    pub total: u64,
}

/// What pxed remembers of machines (`[fleet]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetSettings {
    /// How long pxed keeps steps and boots.
    pub retention: Duration,
    /// The time without a report after which a test counts as silent.
    pub silence: Duration,
    /// The file to which pxed appends every step as a line of JSON. `None` for no such file.
    pub events: Option<PathBuf>,
}

impl Default for FleetSettings {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self { retention: 30 * day, silence: Duration::from_secs(60), events: None }
    }
}

/// The whole file. A key that the file does not have is `None` or empty here, and the command line or a default takes its place.
/// Tables that are not `Option` (`access`, `rate_limits`, `fleet`) already have their defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The names of the interfaces that pxed serves.
    pub interfaces: Vec<String>,
    /// The address that machines load files from. `None` for the interface's first address.
    pub address: Option<Ipv4Addr>,
    /// The directory for what pxed knows of machines. `None` for memory only.
    pub state: Option<PathBuf>,
    /// The path of the API's Unix socket.
    pub socket: Option<PathBuf>,
    /// The boot tree for every machine without an image of its own, and what pxed does with links that lead out of it.
    pub root: Option<(PathBuf, Links)>,
    /// The file that each architecture starts with.
    pub boot_files: Vec<(Arch, String)>,
    /// Memory for boot files, in bytes.
    pub memory: Option<u64>,
    /// How packets reach the daemon.
    pub datapath: Option<DatapathChoice>,
    /// Where the XDP program runs: in the driver or in the network stack.
    pub xdp_mode: Option<ModeChoice>,
    /// Where the kernel answers ACKs by itself.
    pub offload: Option<OffloadChoice>,
    /// Memory for files that the kernel sends by itself, in bytes per interface.
    pub offload_memory: Option<u64>,
    /// How pxed offers boot files, unless a rule has its own style.
    pub style: Option<Style>,
    /// The text of the boot menu's prompt.
    pub menu_prompt: Option<String>,
    /// Seconds until the menu takes its first entry.
    pub menu_timeout: Option<u8>,
    /// The URL for UEFI HTTP boot, by architecture.
    pub http_urls: Vec<(Arch, Url)>,
    /// Whether iPXE may prefer a boot file that the network's DHCP server names.
    pub yield_ipxe: Option<bool>,
    /// The most transfers at a time. Further requests wait.
    pub transfers: Option<u32>,
    /// The most blocks in a TFTP window.
    pub windowsize: Option<u16>,
    /// Whether pxed serves machines whose frames have a source address other than `chaddr`.
    pub foreign_chaddr: Option<bool>,
    /// The user that the daemon becomes when root starts it.
    pub user: Option<String>,
    /// Whether the daemon gives up the privileges that only its start needs.
    pub confinement: Option<Confinement>,
    /// HTTP on the machines' network. `None` for off.
    pub http: Option<Http>,
    /// The web page. `None` for off.
    pub board: Option<Board>,
    /// Uploads of machines. `None` for off.
    pub inbox: Option<InboxSettings>,
    /// The machines that pxed serves.
    pub access: Access,
    /// The rate limits for requests of one source.
    pub rate_limits: RateLimits,
    /// What pxed remembers of machines.
    pub fleet: FleetSettings,
    /// The images, sorted by name.
    pub image_specs: Vec<ImageSpec>,
    /// The line where each image begins, from 1, in the order of `image_specs`.
    pub image_spec_lines: Vec<usize>,
    /// The line of each key and table at the top level of the file, from 1.
    pub key_lines: Vec<(String, usize)>,
    /// The rules in the order of the file. The first rule that matches wins.
    pub rules: Vec<RuleSpec>,
}

impl Config {
    /// Reads and checks a file. The second value is its warnings.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read or has an error. It has all problems with their lines.
    pub fn read(path: &Path) -> Result<(Self, Vec<Problem>), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        if text.trim().is_empty() {
            let problems = vec![Problem::empty_file()];
            return Err(ConfigError::Invalid { path: path.to_owned(), problems });
        }
        let (config, problems) = Self::parse(&text);
        match config {
            Some(config) if problems.iter().all(|problem| problem.severity < Severity::Error) => {
                Ok((config, problems))
            }
            _ => Err(ConfigError::Invalid { path: path.to_owned(), problems }),
        }
    }

    /// The line of a key or table at the top level of the file, from 1. `None` if the file does not have it.
    #[must_use]
    pub fn line_of_key(&self, key: &str) -> Option<usize> {
        self.key_lines.iter().find(|(known, _)| known == key).map(|(_, line)| *line)
    }

    /// The line where an image begins, from 1. `None` if there is no such image.
    #[must_use]
    pub fn line_of_image(&self, name: &str) -> Option<usize> {
        let at = self.image_specs.iter().position(|image_spec| *image_spec.name == *name)?;
        self.image_spec_lines.get(at).copied()
    }

    /// Parses a text. Returns the configuration as far as it can be understood, and all problems in the order of their lines. The
    /// configuration is `None` if the syntax is wrong, if there are too many mistakes, or if a mistake cannot be removed.
    #[must_use]
    pub fn parse(text: &str) -> (Option<Self>, Vec<Problem>) {
        let mut parsed = parse::parse(text);
        let config = parsed.raw.take().map(|raw| {
            let (mut config, mut problems) = diagnostics::check(text, raw, parsed.is_whole);
            config.key_lines = std::mem::take(&mut parsed.key_lines);
            if !parsed.is_whole {
                // Drop problems that only follow from a mistake that is reported already. Only errors remain whose line is not
                // the first line of a table from which something was removed.
                let is_own = |line: usize| !parsed.incomplete.contains(&line);
                problems.retain(|problem| {
                    problem.severity == Severity::Error && problem.line.is_some_and(is_own)
                });
            }
            parsed.problems.extend(problems);
            config
        });
        parsed.problems.sort_by_key(|problem| problem.line);
        (config, parsed.problems)
    }
}

/// The line of a byte offset in a text, from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests;
