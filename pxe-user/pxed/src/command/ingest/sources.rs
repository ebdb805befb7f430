//! The sources of lines: standard input, files, TCP and UDP. Each reads until its end, and puts lines into the buffer.

use std::io::SeekFrom;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeekExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::buffer::Buffer;
use super::lines::Lines;
use super::names::Names;

/// Interval at which a followed file is checked for new bytes and rotation.
const LOOK: Duration = Duration::from_millis(250);
/// TCP connections that are open at the same time.
const CONNECTIONS_MAX: usize = 4096;
/// The largest datagram, in bytes.
const DATAGRAM_MAX: usize = 65536;

fn take(line: &str, names: &Names, buffer: &Buffer) {
    match names.whose(line) {
        Some((who, rest)) => buffer.push(who, rest),
        None if buffer.nameless() => {
            tracing::warn!(
                ?line,
                "no machine's name was found in this line; further lines without one are dropped silently"
            );
        }
        None => {}
    }
}

/// Reads until the end, and calls `each` for each line.
async fn read(mut from: impl AsyncRead + Unpin, mut each: impl FnMut(&str)) -> std::io::Result<()> {
    let (mut lines, mut bytes) = (Lines::default(), vec![0; 16 * 1024]);
    loop {
        match from.read(&mut bytes).await? {
            0 => break,
            count => lines.feed(&bytes[..count], &mut each),
        }
    }
    lines.end(each);
    Ok(())
}

pub(super) async fn stdin(names: &Names, buffer: &Buffer) -> Result<()> {
    read(tokio::io::stdin(), |line| take(line, names, buffer)).await.context("cannot read standard input")
}

pub(super) async fn file(path: &Path, follow: bool, names: &Names, buffer: &Buffer) -> Result<()> {
    let context = || format!("cannot read {}", path.display());
    let mut file = File::open(path).await.with_context(context)?;
    if !follow {
        return read(file, |line| take(line, names, buffer)).await.with_context(context);
    }
    file.seek(SeekFrom::End(0)).await.with_context(context)?;
    let (mut lines, mut bytes) = (Lines::default(), vec![0; 16 * 1024]);
    loop {
        let count = file.read(&mut bytes).await.with_context(context)?;
        lines.feed(&bytes[..count], |line| take(line, names, buffer));
        if count > 0 {
            continue;
        }
        sleep(LOOK).await;
        let here = file.metadata().await.with_context(context)?;
        match tokio::fs::metadata(path).await {
            Ok(named) if (named.dev(), named.ino()) != (here.dev(), here.ino()) => {
                // Read what was appended between the last read and the rotation.
                let count = file.read(&mut bytes).await.with_context(context)?;
                lines.feed(&bytes[..count], |line| take(line, names, buffer));
                if count == 0 {
                    lines.end(|line| take(line, names, buffer));
                    file = File::open(path).await.with_context(context)?;
                }
            }
            // The file was truncated in place.
            Ok(named) if named.len() < file.stream_position().await.with_context(context)? => {
                lines = Lines::default();
                file.rewind().await.with_context(context)?;
            }
            // Nothing has changed, or no file has this name at the moment: a new one may appear.
            Ok(_) | Err(_) => {}
        }
    }
}

pub(super) async fn tcp(address: SocketAddr, names: &Arc<Names>, buffer: &Arc<Buffer>) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    tracing::info!(address = %listener.local_addr()?, "listening for consoles over TCP");
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // If all connections are in use, the next one waits in the listener's backlog.
        let place = Arc::clone(&places).acquire_owned().await.context("no more connections")?;
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot take a connection: {error}");
                sleep(LOOK).await;
                continue;
            }
        };
        let (names, buffer) = (Arc::clone(names), Arc::clone(buffer));
        tokio::spawn(async move {
            let (mut who, mut first) = (None, true);
            let each = |line: &str| {
                if std::mem::take(&mut first) {
                    who = Names::introduced(line);
                    if who.is_some() {
                        return;
                    }
                }
                match &who {
                    Some(who) => buffer.push(Arc::clone(who), line),
                    None => take(line, &names, &buffer),
                }
            };
            if let Err(error) = read(stream, each).await {
                tracing::debug!(%peer, "a console's connection broke: {error}");
            }
            drop(place);
        });
    }
}

pub(super) async fn udp(address: SocketAddr, names: &Names, buffer: &Buffer) -> Result<()> {
    let socket = UdpSocket::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    tracing::info!(address = %socket.local_addr()?, "listening for consoles over UDP");
    let mut bytes = vec![0; DATAGRAM_MAX];
    loop {
        let count = socket.recv(&mut bytes).await.context("cannot receive")?;
        let mut lines = Lines::default();
        lines.feed(&bytes[..count], |line| take(line, names, buffer));
        lines.end(|line| take(line, names, buffer));
    }
}
