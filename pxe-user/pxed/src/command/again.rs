//! `pxed again`: lets one machine, or all, boot by their rules from the beginning.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Args;

use super::options::{Socket, block_on, machine_path};

/// Which machines.
#[derive(Clone, Debug, Args)]
pub(crate) struct Again {
    /// The machine's Ethernet address or name, or `all`
    #[arg(value_name = "MACHINE|all")]
    which: String,
    #[command(flatten)]
    socket: Socket,
}

impl Again {
    pub(super) fn run(&self) -> Result<()> {
        let path = match self.which.as_str() {
            "all" => "/api/v1/again".to_owned(),
            machine => machine_path(machine, "again"),
        };
        let client = self.socket.client();
        let answer = block_on(async { Ok(client.post(&path, Bytes::new()).await?) })?;
        let answer: serde_json::Value = serde_json::from_slice(&answer).context("not an answer of pxed")?;
        writeln!(
            std::io::stdout(),
            "{} machine(s) boot by their rules from the beginning again",
            answer["machines"]
        )?;
        Ok(())
    }
}
