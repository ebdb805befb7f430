//! `pxed import` converts a dnsmasq configuration, or a TFTP directory with `pxelinux.cfg`, to a `pxed.toml` that does the same.
//! It reports what becomes of each source line.
//!
//! ```text
//! files --> reader --> lines --> gather --> Old --> decide: what each kind of machine gets --> build --> New --> write --> text
//!                                            \---------- a disposition for each line ----------/                   \-> Config::parse
//! ```
//!
//! The import never overwrites a file. It parses its own result before it writes it, so pxed can always read the new file.
//!
//! | file | contents |
//! |---|---|
//! | `files` | read access to the source files |
//! | `reader` | follows `conf-file` and `conf-dir`, keeps the order of lines |
//! | `lines` | splits a line: quotes, comments, fields |
//! | `gather`, `conditions`, `hosts`, `other` | the meaning of each option |
//! | `old` | all that the lines say |
//! | `tags` | tags, and which machines have them |
//! | `decide` | what dnsmasq would offer to a machine |
//! | `build`, `images`, `new` | rules and images with the same result |
//! | `write` | the TOML text |
//! | `convert` | the whole conversion, without files |
//! | `pxelinux` | whether the files exist that a PXELINUX configuration names |
//! | `finding` | a line of the report |

mod build;
mod conditions;
mod convert;
mod decide;
mod files;
mod finding;
mod gather;
mod hosts;
mod images;
mod lines;
mod new;
mod old;
mod other;
mod pxelinux;
mod reader;
mod tags;
#[cfg(test)]
mod tests;
pub(super) mod write;

use std::io::{ErrorKind, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::config::{Config, Problem};
use convert::{Converted, convert};
use files::{Disk, Files, Kind};
use finding::Finding;
use old::HostInterface;
use reader::ConfigReader;

/// dnsmasq's service on Debian and Ubuntu reads this directory even if dnsmasq.conf does not name it.
const DEBIANS: &str = "/etc/dnsmasq.d";

/// What is imported, and where the result goes.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exit status: 0 if pxed.toml does all that the old configuration did; 3 if lines are not supported or files \
                        are missing, which the report names; 1 if nothing could be written."
)]
pub(crate) struct Import {
    /// dnsmasq's configuration (a file, or a directory such as /etc/dnsmasq.d), or a TFTP directory with pxelinux.cfg
    #[arg(required = true, value_name = "FILE|DIR")]
    sources: Vec<PathBuf>,
    /// Write pxed.toml to this file, which must not exist yet [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Why the import has no result, or an incomplete one.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImportError {
    /// The file that `--out` names exists.
    #[error("{} exists, and pxed does not overwrite it: name another file with --out, or move this one away", .0.display())]
    Exists(PathBuf),
    /// The sources contain no line to import, and none of them is a directory with `pxelinux.cfg`. Holds the sources.
    #[error("nothing to import in {0}: name dnsmasq's configuration, or a directory with pxelinux.cfg")]
    Nothing(String),
    /// The import wrote the text, but the new configuration does less than the old one. Holds the number of lost lines.
    #[error(
        "{0} lines of the report are not supported or name missing files. Each says what it needs; see to them before you change over"
    )]
    Incomplete(usize),
    /// [`Config::parse`] rejects the text of the import. Holds the problems.
    #[error("the import wrote a configuration that pxed does not read, which is a mistake in pxed: {0}")]
    Unreadable(String),
}

/// The result of an import. It is in memory only: [`Import::run`] writes it.
#[derive(Debug)]
struct Imported {
    text: String,
    findings: Vec<Finding>,
    leases: bool,
    has_dns: bool,
    has_tftp: bool,
    has_dnsmasq: bool,
}

impl Import {
    pub(super) fn run(&self) -> Result<()> {
        if let Some(out) = self.out.as_ref().filter(|out| out.symlink_metadata().is_ok()) {
            bail!(ImportError::Exists(out.clone()));
        }
        let imported = import(&Disk, &self.sources, &host())?;
        let mut err = std::io::stderr().lock();
        for finding in &imported.findings {
            writeln!(err, "{finding}")?;
        }
        match &self.out {
            Some(out) => create(out, &imported.text)?,
            None => std::io::stdout()
                .write_all(imported.text.as_bytes())
                .context("cannot write to standard output")?,
        }
        if self.leaves_out_debians(&imported) {
            writeln!(
                err,
                "note: dnsmasq's service on Debian and Ubuntu also reads {DEBIANS}: import it together with this file"
            )?;
        }
        for line in self.next(&imported) {
            writeln!(err, "{line}")?;
        }
        match imported.findings.iter().filter(|finding| finding.is_loss()).count() {
            0 => Ok(()),
            losses => bail!(ImportError::Incomplete(losses)),
        }
    }

    /// Whether the user imports /etc/dnsmasq.conf without Debian's directory, although that directory has configuration files.
    fn leaves_out_debians(&self, imported: &Imported) -> bool {
        let is_stock = |source: &PathBuf| source == Path::new("/etc/dnsmasq.conf");
        let is_read =
            |finding: &Finding| finding.place.file.starts_with(DEBIANS) || finding.text.contains(DEBIANS);
        self.sources.iter().any(is_stock)
            && !self.sources.iter().any(|source| source.starts_with(DEBIANS))
            && !imported.findings.iter().any(is_read)
            && Disk.list(Path::new(DEBIANS)).is_ok_and(|names| names.iter().any(|name| name != "README"))
    }

    /// The steps that the user takes next, one per line.
    fn next(&self, imported: &Imported) -> Vec<String> {
        let config = self.out.as_deref().unwrap_or(Path::new("pxed.toml")).display().to_string();
        let mut steps = Vec::new();
        if self.out.is_none() {
            steps.push(format!("save the text as {config}"));
        }
        steps.push(format!("pxed check --config {config}"));
        if imported.has_dnsmasq {
            steps.push(match (imported.leases, imported.has_dns) {
                (false, false) => "stop dnsmasq: sudo systemctl disable --now dnsmasq".to_owned(),
                (leases, _) => {
                    let rest = if leases { "DHCP addresses" } else { "DNS" };
                    format!(
                        "stop dnsmasq's boot part: comment out dhcp-boot, pxe-service, pxe-prompt, enable-tftp and tftp-*, and no \
                         other line (interface, port and dhcp-host stay); restart dnsmasq, which keeps {rest}"
                    )
                }
            });
        }
        if !imported.has_tftp {
            steps.push(
                "stop the TFTP server on this host, if there is one (`sudo ss -lunp` shows what has UDP 69)"
                    .to_owned(),
            );
        }
        steps.push(format!("sudo pxed serve --config {config}"));
        let steps = steps.into_iter().enumerate().map(|(index, step)| format!("  {}. {step}", index + 1));
        std::iter::once("next:".to_owned()).chain(steps).collect()
    }
}

/// Imports the sources. Writes nothing.
fn import(files: &dyn Files, sources: &[PathBuf], host: &[HostInterface]) -> Result<Imported> {
    let mut reader = ConfigReader::new(files);
    let mut tree = None;
    for source in sources {
        match files.kind(source) {
            Some(Kind::Directory) => match tree_of(files, source) {
                Some(root) => tree = Some(root),
                None => {
                    reader.directory(source).with_context(|| format!("cannot read {}", source.display()))?
                }
            },
            _ => reader.file(source).with_context(|| format!("cannot read {}", source.display()))?,
        }
    }
    let has_dnsmasq = reader.count > 0;
    let ConfigReader { lines, mut findings, .. } = reader;
    if tree.is_none() && lines.is_empty() && findings.is_empty() {
        bail!(ImportError::Nothing(listed(sources)));
    }
    let taken = |path: &Path| files.kind(path) == Some(Kind::Directory);
    let order: Vec<_> = lines.iter().map(|line| line.place.file.clone()).collect();
    // Make the path absolute, because the daemon has another working directory.
    let tree = tree.map(|tree| std::path::absolute(&tree).unwrap_or(tree));
    let given = tree.as_ref().map(|tree| tree.display().to_string());
    let Converted { new, findings: converted, leases, has_dns, has_tftp, roots } =
        convert(lines, host, given.as_deref(), &taken);
    findings.extend(converted);
    // Keep the lines of one file together, in the order in which the import read the files.
    let position = |finding: &Finding| order.iter().position(|file| *file == finding.place.file);
    findings.sort_by_key(|finding| (position(finding), finding.place.clone()));
    let mut trees: Vec<PathBuf> = roots.iter().map(PathBuf::from).collect();
    trees.extend(tree.filter(|tree| !trees.contains(tree)));
    let images = new.images.iter().flat_map(|image| &image.boot_files);
    let boot_files: Vec<String> =
        new.boot_files.iter().chain(images).map(|(_, file)| file.value.clone()).collect();
    for tree in &trees {
        findings.extend(pxelinux::check(files, tree, &boot_files));
    }
    let text =
        write::text(&new, &sources.iter().map(|source| source.display().to_string()).collect::<Vec<_>>());
    let (config, problems) = Config::parse(&text);
    let problems: Vec<&Problem> =
        problems.iter().filter(|problem| problem.severity == crate::config::Severity::Error).collect();
    if config.is_none() || !problems.is_empty() {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        bail!(ImportError::Unreadable(problems.join("; ")));
    }
    Ok(Imported { text, findings, leases, has_dns, has_tftp, has_dnsmasq })
}

/// The root of a PXELINUX tree, if `directory` is such a root or its `pxelinux.cfg`.
fn tree_of(files: &dyn Files, directory: &Path) -> Option<PathBuf> {
    if directory.file_name().is_some_and(|name| name == pxelinux::FOLDER) {
        return Some(directory.parent().unwrap_or(Path::new(".")).to_owned());
    }
    (files.kind(&directory.join(pxelinux::FOLDER)) == Some(Kind::Directory)).then(|| directory.to_owned())
}

fn listed(sources: &[PathBuf]) -> String {
    sources.iter().map(|source| source.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Writes a new file. Fails if `path` exists.
pub(super) fn create(path: &Path, text: &str) -> Result<()> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = match file {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(ImportError::Exists(path.to_owned())),
        file => file.with_context(|| format!("cannot write {}", path.display()))?,
    };
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// This host's IPv4 addresses, each with its interface and netmask.
fn host() -> Vec<HostInterface> {
    let Ok(list) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    list.filter_map(|entry| {
        let address = entry.address?.as_sockaddr_in()?.ip();
        let mask = entry.netmask.and_then(|mask| Some(mask.as_sockaddr_in()?.ip()));
        Some(HostInterface { name: entry.interface_name, address, mask: mask.unwrap_or(Ipv4Addr::BROADCAST) })
    })
    .collect()
}
