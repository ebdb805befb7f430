//! `pxed again`.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Args;

use super::options::{Socket, block_on};
use crate::mac::Mac;

/// Which machines.
#[derive(Clone, Debug, Args)]
pub(crate) struct Again {
    /// The machine's Ethernet address, or `all`
    #[arg(value_name = "MAC|all", value_parser = which)]
    which: Which,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Clone, Copy, Debug)]
enum Which {
    All,
    One(Mac),
}

fn which(text: &str) -> Result<Which, String> {
    if text == "all" {
        return Ok(Which::All);
    }
    text.parse().map(Which::One).map_err(|error| format!("{error}, or `all`"))
}

impl Again {
    pub(super) fn run(&self) -> Result<()> {
        let path = match self.which {
            Which::All => "/api/v1/again".to_owned(),
            Which::One(mac) => format!("/api/v1/machines/{mac}/again"),
        };
        let client = self.socket.client();
        let answer = block_on(async { Ok(client.post(&path, Bytes::new()).await?) })?;
        let answer: serde_json::Value = serde_json::from_slice(&answer).context("not an answer of pxed")?;
        writeln!(std::io::stdout(), "{} machine(s) may boot again", answer["machines"])?;
        Ok(())
    }
}
