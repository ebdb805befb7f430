//! The command line of `pxed`: a file or folder for each subcommand. [`run`] is the entry point, and [`exit_code`] maps
//! errors to exit codes.

mod again;
mod assets;
mod catalogue;
mod check;
mod daemon;
mod explain;
mod image;
mod images;
mod import;
mod ingest;
mod init;
mod ledger;
mod linux;
mod loaders;
mod log;
mod name;
mod offer;
mod options;
mod serve;
mod status;

use std::io::ErrorKind;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::config::ConfigError;
use crate::confine::ConfineError;
use crate::server::preconditions::UnmetConditions;

pub use log::LogFormat;

/// Boots every PXE machine of a network into memtest86+ or another image, beside the existing DHCP server.
#[derive(Debug, Parser)]
#[command(name = "pxed", version, about, long_about = LONG_ABOUT, propagate_version = true)]
pub struct Cli {
    /// Format of log lines on standard error; RUST_LOG selects their level (for example RUST_LOG=debug)
    #[arg(long, global = true, value_enum, default_value_t)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

const LONG_ABOUT: &str = "\
Boots every PXE machine of a network into memtest86+ or another image, beside the existing DHCP server.

pxed answers network boot requests only (proxyDHCP on UDP 67 and 4011, TFTP on 69). It never gives out \
addresses, and leaves all other packets alone.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer boot requests on one or more interfaces until Ctrl-C
    Serve(Box<serve::Serve>),
    /// List the files that would be served: name, size, SHA-256, origin
    Images(images::Images),
    /// Build the memory test that reports to pxed
    Image(image::Image),
    /// Check the configuration and this host, and show what `serve` would do; starts nothing
    Check(Box<check::Check>),
    /// Explain what a machine would get, and why: rules, reply and files; or every machine in a capture
    Explain(Box<explain::Explain>),
    /// Write a commented pxed.toml for this host: its interfaces, what it can boot, and what is in the way
    Init(init::Init),
    /// Turn dnsmasq's configuration, or a PXELINUX tree, into a pxed.toml that does the same; say what becomes of each line
    Import(import::Import),
    /// Show the state of all machines, from the running daemon
    Status(status::Status),
    /// Send lines of machines' consoles to the running daemon, which reads memtest86+'s log in them
    Ingest(ingest::Ingest),
    /// Let one machine, or all, boot by their rules from the beginning: resets what `once` has counted
    #[command(visible_alias = "retry")]
    Again(again::Again),
    /// Name machines, also before they are seen; commands accept a name wherever they accept an Ethernet address
    Name(name::Name),
    /// Copy the history to a database that several responders share
    Ledger(Box<ledger::Ledger>),
    /// Print shell completions
    Completions(assets::Completions),
    /// Write the man pages into a directory; for packagers
    #[command(hide = true)]
    Man(assets::Pages),
    /// Print the JSON schema of pxed.toml; for packagers
    #[command(hide = true)]
    Schema,
}

/// The exit code for an error, by which a service manager sees whether another start could help. 78 is `EX_CONFIG`
/// (sysexits.h): the configuration must be changed first. 3 is for an incomplete `pxed import`. clap itself exits with
/// 2 for mistakes on the command line.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    // A file that cannot be read for any other reason may be readable at the next start.
    let is_config = error.downcast_ref().is_some_and(|error| match error {
        ConfigError::Read { error, .. } => matches!(
            error.kind(),
            ErrorKind::NotFound
                | ErrorKind::PermissionDenied
                | ErrorKind::IsADirectory
                | ErrorKind::NotADirectory
                | ErrorKind::InvalidData
        ),
        ConfigError::Invalid { .. } => true,
    });
    if let Some(import::ImportError::Incomplete(_)) = error.downcast_ref() {
        return ExitCode::from(3);
    }
    let is_user = |error: &anyhow::Error| matches!(error.downcast_ref(), Some(ConfineError::NoUser(_)));
    let is_unmet = error.downcast_ref::<UnmetConditions>().is_some_and(UnmetConditions::is_lasting);
    if is_config
        || is_unmet
        || is_user(error)
        || error.is::<daemon::SettingsError>()
        || error.is::<linux::LinuxError>()
    {
        ExitCode::from(78)
    } else {
        ExitCode::FAILURE
    }
}

/// Runs the command.
///
/// # Errors
/// What prevents the command, with the remedy.
pub fn run(cli: Cli) -> Result<()> {
    log::start(cli.log_format)?;
    match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Images(images) => images.run(),
        Command::Image(image) => image.run(),
        Command::Check(check) => check.run(),
        Command::Explain(explain) => explain.run(),
        Command::Init(init) => init.run(),
        Command::Import(import) => import.run(),
        Command::Status(status) => status.run(),
        Command::Ingest(ingest) => ingest.run(),
        Command::Again(again) => again.run(),
        Command::Name(name) => name.run(),
        Command::Ledger(ledger) => ledger.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(pages) => pages.run(),
        Command::Schema => assets::schema(),
    }
}
