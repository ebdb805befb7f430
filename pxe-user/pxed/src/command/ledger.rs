//! `pxed ledger`: work on the history as a whole.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, Subcommand};

use pxe_fleet::move_ledger::move_ledger;
use pxe_ledger::postgres::{Target, Url};

/// What to do.
#[derive(Clone, Debug, Args)]
pub(crate) struct Ledger {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Copy the history of a directory to a PostgreSQL database, before the first start with `[ledger]`. Stop the daemon
    /// first. Changes nothing in the directory; a repeat changes nothing in the database
    Move(Move),
}

/// From where to where.
#[derive(Clone, Debug, Args)]
struct Move {
    /// The directory that is `state` in the configuration
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The database, as `url` in `[ledger]`
    #[arg(long, value_name = "URL")]
    to: String,
    /// The file with the database's password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The file with the authorities of the database's certificate [default: those of the system]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The responder's name, as in `[ledger]` [default: the host's name]
    #[arg(long, value_name = "NAME")]
    responder: Option<String>,
}

impl Ledger {
    pub(super) fn run(&self) -> Result<()> {
        let Command::Move(Move { from, to, password_file, ca_file, responder }) = &self.command;
        // Not parsed by clap, which would repeat a URL with a password in its error.
        let to = Url::parse(to).map_err(|error| anyhow!("the URL after --to {error}"))?;
        let target = Target::open(&to, password_file.as_deref(), ca_file.as_deref())?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let responder = responder.as_ref().unwrap_or(&host);
        let moved = move_ledger(from, &target, responder, &host)
            .with_context(|| format!("cannot copy the history of {} to {to}", from.display()))?;
        let mut out = std::io::stdout();
        writeln!(
            out,
            "copied {} machine(s), {} boot(s), {} step(s), {} memory error(s) to {to}, as responder {responder}",
            moved.machines, moved.boots, moved.steps, moved.errors
        )?;
        match moved.counts {
            Some(counts) => writeln!(out, "copied {counts} count(s) of boots for `once`")?,
            None => writeln!(
                out,
                "left out the counts of boots for `once`: a pxed with [ledger] has used this directory, and sent them itself"
            )?,
        }
        Ok(())
    }
}
