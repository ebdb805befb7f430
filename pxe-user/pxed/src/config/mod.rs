//! `pxed.toml`: what the daemon serves where, and who gets what. Reading it needs no rights and opens no file but itself.
//!
//! ```text
//! text --> raw (serde, with every mistake: parse) --> Config + problems with their lines (check) --> Options, rules, recipes
//! ```
//! `docs/pxed.toml` is an example with every key; a test reads it. `docs/pxed.schema.json` is for editors; a test makes
//! it of `raw`'s types and comments.

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

/// The JSON schema of the file, for editors.
pub const SCHEMA: &str = include_str!("../../../../docs/pxed.schema.json");

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, but surely not as it was meant.
    Warning,
    /// The file cannot be used.
    Error,
}

/// Something is wrong in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1; none where no line is to blame.
    pub line: Option<usize>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, and what to do.
    pub text: String,
}

impl Severity {
    /// In messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Problem {
    /// Without rules everybody is served, which nobody means by a file that is being written at this moment.
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

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read at all.
    #[error("cannot read {}: {error}{}", path.display(), remedy(error))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// It has errors.
    #[error("{} is rejected: {}", path.display(), list(problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All that is wrong, warnings included.
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

/// What a rule leads to, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This image.
    Image(Arc<str>),
    /// The machine boots its own disk.
    Local,
    /// The machine is not ours.
    Ignore,
}

/// A rule as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// Its name: as given, or `rule N`.
    pub name: Arc<str>,
    /// Where it begins.
    pub line: usize,
    /// Whom it means.
    pub matcher: Matcher,
    /// What it leads to.
    pub outcome: Outcome,
    /// How machines are told.
    pub style: Option<Style>,
    /// The machine that has the files.
    pub boot_server: Option<Ipv4Addr>,
    /// So many boots, then the own disk.
    pub boots: Option<u32>,
    /// What TFTP may grant.
    pub limits: RuleLimits,
}

/// HTTP on the machines' network: boot files and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http {
    /// The port, on every interface's address.
    pub port: u16,
    /// iPXE loads its script, and so everything else, over HTTP.
    pub ipxe: bool,
}

/// The web page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The file with the token.
    pub token_file: Option<PathBuf>,
}

/// Where machines may put files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxSettings {
    /// The directory, below it one for each machine.
    pub directory: PathBuf,
    /// Most bytes in one file.
    pub file: u64,
    /// Most bytes of one machine.
    pub machine: u64,
    /// Most bytes of all machines.
    pub total: u64,
}

/// What is remembered of machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetSettings {
    /// For how long.
    pub retention: Duration,
    /// A test that says nothing for so long is silent.
    pub silence: Duration,
    /// A file to which every step is appended as a line of JSON.
    pub events: Option<PathBuf>,
}

impl Default for FleetSettings {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self { retention: 30 * day, silence: Duration::from_secs(60), events: None }
    }
}

/// The whole file. What is not given is `None` or empty: the command line and defaults fill it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The interfaces.
    pub interfaces: Vec<String>,
    /// The address to serve from.
    pub address: Option<Ipv4Addr>,
    /// Where what is known of machines is kept.
    pub state: Option<PathBuf>,
    /// The local socket of the API.
    pub socket: Option<PathBuf>,
    /// The tree that everybody gets.
    pub root: Option<(PathBuf, Links)>,
    /// What architectures start with.
    pub boot_files: Vec<(Arch, String)>,
    /// Memory for boot files, in bytes.
    pub memory: Option<u64>,
    /// How packets reach the daemon.
    pub datapath: Option<DatapathChoice>,
    /// Where the XDP program runs.
    pub xdp_mode: Option<ModeChoice>,
    /// Whether the kernel may answer by itself.
    pub offload: Option<OffloadChoice>,
    /// Memory for files that the kernel sends, in bytes.
    pub offload_memory: Option<u64>,
    /// How machines are told.
    pub style: Option<Style>,
    /// The prompt of the menu.
    pub menu_prompt: Option<String>,
    /// Seconds until its first entry is taken.
    pub menu_timeout: Option<u8>,
    /// URLs for UEFI HTTP boot.
    pub http_urls: Vec<(Arch, Url)>,
    /// iPXE may prefer the DHCP server's file.
    pub yield_ipxe: Option<bool>,
    /// Most transfers at a time.
    pub transfers: Option<u32>,
    /// Most blocks in a window.
    pub windowsize: Option<u16>,
    /// Machines are served whose frames have another source than their requests say.
    pub foreign_chaddr: Option<bool>,
    /// Who the daemon becomes.
    pub user: Option<String>,
    /// Whether it gives its rights up.
    pub confinement: Option<Confinement>,
    /// HTTP on the machines' network.
    pub http: Option<Http>,
    /// The web page.
    pub board: Option<Board>,
    /// Where machines may put files.
    pub inbox: Option<InboxSettings>,
    /// Who is served at all.
    pub access: Access,
    /// How often sources may ask.
    pub rate_limits: RateLimits,
    /// What is remembered.
    pub fleet: FleetSettings,
    /// The images.
    pub image_specs: Vec<ImageSpec>,
    /// Where each of them begins, from line 1, in the same order.
    pub image_spec_lines: Vec<usize>,
    /// Where the keys and tables at the top of the file are, from line 1.
    pub key_lines: Vec<(String, usize)>,
    /// The rules.
    pub rules: Vec<RuleSpec>,
}

impl Config {
    /// Reads a file; also what in it surely was not meant so.
    ///
    /// # Errors
    /// [`ConfigError`], with all problems and their lines.
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

    /// The line of a key or table at the top of the file, if it is there.
    #[must_use]
    pub fn line_of_key(&self, key: &str) -> Option<usize> {
        self.key_lines.iter().find(|(known, _)| known == key).map(|(_, line)| *line)
    }

    /// The line where an image begins.
    #[must_use]
    pub fn line_of_image(&self, name: &str) -> Option<usize> {
        let at = self.image_specs.iter().position(|image_spec| *image_spec.name == *name)?;
        self.image_spec_lines.get(at).copied()
    }

    /// Reads a text: the configuration as far as it could be understood, and all problems in the order of their lines.
    #[must_use]
    pub fn parse(text: &str) -> (Option<Self>, Vec<Problem>) {
        let mut parsed = parse::parse(text);
        let config = parsed.raw.take().map(|raw| {
            let (mut config, mut problems) = diagnostics::check(text, raw, parsed.is_whole);
            config.key_lines = std::mem::take(&mut parsed.key_lines);
            if !parsed.is_whole {
                // What follows from a mistake is no mistake of its own.
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

/// The line of a place in a text, from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests;
