//! `pxed ingest`: sends lines of machines' consoles from a file, a socket or standard input to the running daemon.
//!
//! ```text
//! sources --> lines --> names --> buffer --> post --> the daemon's API
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `sources` | standard input, files, TCP, UDP |
//! | `lines` | splits bytes into lines |
//! | `names` | finds the machine of a line |
//! | `buffer` | a bounded queue of lines that wait for the daemon |
//! | `post` | sends the queue to the daemon |

mod buffer;
mod lines;
mod names;
mod post;
mod sources;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::options::{Socket, block_on};
use buffer::Buffer;
use names::{Names, Pattern};

/// Where lines come from, and whose they are. Without a source they are read from standard input.
#[derive(Clone, Debug, Args)]
pub(crate) struct Ingest {
    /// All lines are this machine's: its name, serial number, UUID or Ethernet address
    #[arg(long, value_name = "WHO", conflicts_with = "name_from")]
    machine: Option<String>,
    /// The name is in each line: `conserver` ([name] or name: in front), `syslog` (the host), or a regular expression
    /// whose first group is the name and whose end is where the line begins; may be repeated
    #[arg(long, value_name = "conserver|syslog|REGEX")]
    name_from: Vec<Pattern>,
    /// Read this file
    #[arg(long, value_name = "FILE", group = "source")]
    file: Option<PathBuf>,
    /// Follow the file: read what is appended from now on; after rotation, read the new file from its beginning
    #[arg(long, requires = "file")]
    follow: bool,
    /// Listen for TCP connections on this address (ser2net, conserver); a first line `machine NAME` names the machine
    #[arg(long, value_name = "ADDRESS:PORT", group = "source")]
    listen_tcp: Option<SocketAddr>,
    /// Listen for UDP datagrams on this address; without --machine or --name-from they are syslog
    #[arg(long, value_name = "ADDRESS:PORT", group = "source")]
    listen_udp: Option<SocketAddr>,
    #[command(flatten)]
    socket: Socket,
}

impl Ingest {
    pub(super) fn run(&self) -> Result<()> {
        let mut patterns = self.name_from.clone();
        if self.listen_udp.is_some() && patterns.is_empty() && self.machine.is_none() {
            patterns.push(Pattern::syslog());
        }
        if patterns.is_empty() && self.machine.is_none() && self.listen_tcp.is_none() {
            bail!(
                "give --machine WHO, or --name-from conserver, syslog or a regular expression: pxed must know which machine a line belongs to"
            );
        }
        let names = Arc::new(Names::new(self.machine.as_deref(), patterns));
        block_on(self.feed(names))
    }

    async fn feed(&self, names: Arc<Names>) -> Result<()> {
        let buffer = Arc::new(Buffer::default());
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let posting = tokio::spawn(post::run(self.socket.client(), Arc::clone(&buffer)));
        let source = async {
            match (&self.file, self.listen_tcp, self.listen_udp) {
                (Some(path), ..) => sources::file(path, self.follow, &names, &buffer).await,
                (_, Some(address), _) => sources::tcp(address, &names, &buffer).await,
                (.., Some(address)) => sources::udp(address, &names, &buffer).await,
                _ => sources::stdin(&names, &buffer).await,
            }
        };
        let ended = tokio::select! {
            ended = source => ended,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        };
        buffer.close();
        posting.await?;
        let left = buffer.left();
        ended?;
        if left > 0 {
            bail!("{left} lines were not delivered to pxed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
