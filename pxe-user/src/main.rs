//! `pxed`, the network boot responder.

use std::process::ExitCode;

use clap::Parser as _;
use pxe_user::command::{Cli, run};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(
                clippy::print_stderr,
                reason = "the last word goes to the terminal, whatever the log's filter"
            )]
            {
                eprintln!("pxed: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
