//! `pxed status`: the fleet in the terminal, as JSON, as a table, or live.
//!
//! | file | contents |
//! |---|---|
//! | `text` | makes untrusted text harmless for a terminal, and cuts it to a width |
//! | `row` | one machine in a few words |
//! | `table` | all machines, printed once |
//! | `view` | the state of the live view and its keys; no terminal, no I/O |
//! | `draw` | draws the live view |
//! | `story` | draws one machine |
//! | `watch` | connects terminal, keys and daemon to the view |

mod colour;
mod draw;
mod row;
mod story;
mod table;
pub(super) mod text;
mod view;
mod watch;

use std::io::{IsTerminal as _, Write as _};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;

use super::options::{Socket, block_on};
use pxe_fleet::board::{Board, UnixMs};
use pxe_web::api::client::Client;

const MACHINES: &str = "/api/v1/machines";
const SUMMARY: &str = "/api/v1/summary";

/// How to show it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Status {
    /// Keep running and show each change: q quits, arrows move, Enter shows one machine, / filters
    #[arg(long, short, conflicts_with = "json")]
    watch: bool,
    /// As JSON, exactly as /api/v1/machines gives it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Status {
    pub(super) fn run(&self) -> Result<()> {
        let client = self.socket.client();
        if self.watch {
            if !std::io::stdout().is_terminal() {
                bail!("--watch needs a terminal: leave it out, or use --json");
            }
            return block_on(watch::run(client));
        }
        let (body, summary) =
            block_on(async { Ok((client.get(MACHINES).await?, client.get(SUMMARY).await.ok())) })?;
        let mut out = std::io::stdout().lock();
        let written = if self.json {
            out.write_all(&body).and_then(|()| out.write_all(b"\n"))
        } else {
            let board: Board = serde_json::from_slice(&body)
                .context("this program cannot read the daemon's answer: their versions differ")?;
            let summary = serde_json::from_slice(summary.as_deref().unwrap_or_default()).unwrap_or_default();
            [network(&summary), images(&summary)]
                .concat()
                .iter()
                .try_for_each(|line| writeln!(out, "{}", text::escape(line)))
                .and_then(|()| table::write(&mut out, &board, now(), &table::Look::of_stdout()))
        };
        match written {
            // The reader closed the pipe, as in `pxed status | head`.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }
}

/// With whom the daemon shares its segment, and who else answers there, in lines. None if nobody.
fn network(summary: &Value) -> Vec<String> {
    let segment = &summary["segment"];
    let shared = segment["name"].as_str().zip(segment["share"].as_str());
    let shared = shared.map(|(name, share)| format!("segment {name}: {share}"));
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    shared.into_iter().chain(text(&segment["problem"])).chain(text(&summary["foreign_proxies"])).collect()
}

/// What the images from elsewhere lack, in lines.
fn images(summary: &Value) -> Vec<String> {
    let images = summary["images"].as_array().into_iter().flatten();
    images.filter_map(|image| image["problem"].as_str().map(str::to_owned)).collect()
}

async fn board(client: &Client) -> Result<Board> {
    let body = client.get(MACHINES).await?;
    serde_json::from_slice(&body)
        .context("this program cannot read the daemon's answer: their versions differ")
}

#[expect(clippy::disallowed_methods, reason = "the command line shows how long ago something was")]
fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
