//! Options that several commands have.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::linux::Linux;
use crate::config::RuleSpec;
use pxe_content::boot::{Catalogue, Config, Links, Source};
use pxe_proto::dhcp::Arch;
use pxe_web::api::client::Client;

/// Which files are served.
#[derive(Clone, Debug, Args)]
pub(crate) struct Files {
    /// Serve this directory; without it, serve the installed memtest86+ and boot loaders
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    #[command(flatten)]
    linux: Linux,
    /// Boot program of an architecture (bios, ia32, x64, arm64, ... or a number of option 93); may be repeated
    #[arg(long = "boot-file", value_name = "ARCH=NAME", value_parser = boot_file, conflicts_with = "kernel")]
    boot_files: Vec<(Arch, String)>,
    /// Reject links that lead out of the directory; without this, pxed follows links of root and of the directory's owner
    #[arg(long, requires = "root")]
    no_links: bool,
    /// Memory for boot files, in MiB [default: half of what is available]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    memory: Option<u64>,
}

impl Files {
    /// Opens the catalogue.
    pub(super) fn open(&self) -> Result<Catalogue> {
        Ok(Catalogue::open(self.config(&crate::config::Config::default())?)?)
    }

    /// The files to serve. Each option of the command line overrides the configuration file.
    ///
    /// # Errors
    /// What is wrong with the files of `--kernel`.
    pub(super) fn config(&self, file: &crate::config::Config) -> Result<Config> {
        let links = if self.no_links { Links::Stay } else { Links::FollowAdministrators };
        let source = match (&self.root, &file.root) {
            (Some(root), _) => Source::Tree { root: root.clone(), links },
            (None, Some((root, links))) => Source::Tree { root: root.clone(), links: *links },
            (None, None) => Source::Virtual { system: "/".into() },
        };
        let mut image_specs = file.image_specs.clone();
        let source = match self.linux.image(file)? {
            Some((files, image_spec)) => {
                image_specs.push(image_spec);
                Source::Single(files)
            }
            None => source,
        };
        let mut boot_files = self.boot_files.clone();
        boot_files.extend(file.boot_files.iter().filter(|(arch, _)| !self.names(*arch)).cloned());
        let memory = self.memory.map(|mib| mib.saturating_mul(1 << 20)).or(file.memory);
        Ok(Config { source, boot_files, image_specs, memory, ..Config::default() })
    }

    /// The file's rules; with `--kernel`, its single rule instead.
    pub(super) fn rules(&self, file: &crate::config::Config) -> Vec<RuleSpec> {
        self.linux.rule().map_or_else(|| file.rules.clone(), |rule| vec![rule])
    }

    fn names(&self, arch: Arch) -> bool {
        self.boot_files.iter().any(|(named, _)| *named == arch)
    }
}

/// Where the daemon answers.
#[derive(Clone, Debug, Args)]
pub(crate) struct Socket {
    /// The daemon's Unix socket
    #[arg(long, value_name = "PATH", default_value = pxe_web::api::listen::SOCKET)]
    socket: PathBuf,
}

impl Socket {
    pub(super) fn client(&self) -> Client {
        Client::new(&self.socket)
    }
}

/// The API's path of a machine's resource. The machine is given by Ethernet address, name or another word that the API
/// accepts.
pub(super) fn machine_path(machine: &str, what: &str) -> String {
    let machine = utf8_percent_encode(machine.trim(), NON_ALPHANUMERIC);
    format!("/api/v1/machines/{machine}/{what}")
}

/// Runs a command that connects to the daemon, in a runtime of one thread.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let result = runtime.block_on(work);
    // A pending read of a terminal or a pipe must not delay the end.
    runtime.shutdown_background();
    result
}

fn boot_file(text: &str) -> Result<(Arch, String), String> {
    pair(text)
        .and_then(|(arch, name)| Ok((arch.parse().map_err(|error| format!("{error}"))?, name.to_owned())))
}

/// Splits `ARCH=VALUE`.
pub(super) fn pair(text: &str) -> Result<(&str, &str), String> {
    match text.split_once('=') {
        Some((arch, value)) if !value.is_empty() => Ok((arch, value)),
        _ => Err("write ARCH=VALUE, for example x64=bootx64.efi".into()),
    }
}
