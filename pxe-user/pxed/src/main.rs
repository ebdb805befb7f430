//! `pxed`, the network boot responder.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use pxed::command::{Cli, exit_code, run};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The error goes to standard error, whatever the log's filter. If that is closed, there is no place for it.
            let _ = writeln!(std::io::stderr(), "pxed: {error:#}");
            exit_code(&error)
        }
    }
}
