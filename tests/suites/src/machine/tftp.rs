//! Loads a file as EDK2 does: a request for the size that the client ends by an ERROR, then the transfer with an ACK
//! for each window (clients.md section 2).

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::is_timeout;

const BLKSIZE: usize = 1468;
const WINDOWSIZE: u16 = 4;
/// The number of attempts, and the time-out of each.
const TRIES: u32 = 6;
const WAIT: Duration = Duration::from_secs(4);

/// Loads a file.
///
/// # Errors
/// If EDK2 would reject the server's packets.
pub fn load(server: Ipv4Addr, file: &str) -> Result<Vec<u8>> {
    let size = size(server, file).context("asking for the size")?;
    let bytes = transfer(server, file, WINDOWSIZE).context("loading")?;
    ensure!(bytes.len() == size, "the announced size is {size}, but {} bytes arrived", bytes.len());
    Ok(bytes)
}

/// Loads a file block by block, as firmware without windows does.
///
/// # Errors
/// As [`load`].
pub fn load_in_lock_step(server: Ipv4Addr, file: &str) -> Result<Vec<u8>> {
    transfer(server, file, 1).context("loading in lock-step")
}

/// Requests the file's size, and answers the OACK by ERROR 8, so that no transfer begins.
fn size(server: Ipv4Addr, file: &str) -> Result<usize> {
    let mut peer = Peer::open(server)?;
    let answer = peer.exchange(&request(file, true, WINDOWSIZE))?;
    let accepted = options(&answer)?;
    let told = |name: &str| accepted.iter().find(|(other, _)| other == name).map(|(_, value)| *value);
    ensure!(told("blksize") == Some(BLKSIZE), "OACK: {accepted:?}");
    ensure!(told("windowsize") == Some(usize::from(WINDOWSIZE)), "OACK: {accepted:?}");
    let size = told("tsize").context("the OACK has no tsize")?;
    peer.send(&[&[0, 5, 0, 8][..], b"User aborted the transfer\0"].concat())?;
    Ok(size)
}

/// Loads a file. A window of 1 is not requested.
fn transfer(server: Ipv4Addr, file: &str, windowsize: u16) -> Result<Vec<u8>> {
    let mut peer = Peer::open(server)?;
    let answer = peer.exchange(&request(file, false, windowsize))?;
    let mut accepted = options(&answer)?;
    accepted.sort_unstable();
    // EDK2 aborts if the OACK has an option that it did not request, or another value.
    let asked = [("blksize", BLKSIZE), ("windowsize", usize::from(windowsize))];
    let asked = asked.into_iter().filter(|(_, value)| *value > 1);
    ensure!(accepted.iter().map(|(name, value)| (name.as_str(), *value)).eq(asked), "OACK: {accepted:?}");
    let mut bytes = Vec::new();
    let mut last: u16 = 0;
    let mut in_window = 0;
    let mut packet = peer.exchange(&ack(0))?;
    loop {
        let [0, 3, high, low, data @ ..] = &packet[..] else { bail!("not DATA: {}", shown(&packet)) };
        let block = u16::from_be_bytes([*high, *low]);
        if block != last.wrapping_add(1) {
            // EDK2 acknowledges the last good block after each unexpected one, and starts a new window.
            in_window = 0;
            packet = peer.exchange(&ack(last))?;
            continue;
        }
        ensure!(data.len() <= BLKSIZE, "block {block} has {} bytes", data.len());
        bytes.extend_from_slice(data);
        (last, in_window) = (block, in_window + 1);
        if data.len() < BLKSIZE {
            peer.send(&ack(last))?;
            return Ok(bytes);
        }
        packet = if in_window == windowsize {
            in_window = 0;
            peer.exchange(&ack(last))?
        } else {
            // Wait for the rest of the window. If it is lost, acknowledge the last good block again.
            match peer.receive()? {
                Some(packet) => packet,
                None => peer.exchange(&ack(last))?,
            }
        };
    }
}

/// The socket of one transfer. The server answers from a new port (RFC 1350, section 4).
struct Peer {
    socket: UdpSocket,
    server: Ipv4Addr,
    to: SocketAddr,
    answered: bool,
}

impl Peer {
    fn open(server: Ipv4Addr) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(WAIT))?;
        Ok(Self { socket, server, to: SocketAddrV4::new(server, 69).into(), answered: false })
    }

    fn send(&self, packet: &[u8]) -> Result<()> {
        self.socket.send_to(packet, self.to)?;
        Ok(())
    }

    /// Sends a packet, again after each time-out, until an answer arrives.
    fn exchange(&mut self, packet: &[u8]) -> Result<Vec<u8>> {
        for _ in 0..TRIES {
            self.send(packet)?;
            if let Some(answer) = self.receive()? {
                return Ok(answer);
            }
        }
        bail!("no answer to {} from {}", shown(packet), self.to)
    }

    /// Receives the next packet of this transfer. None after the time-out.
    fn receive(&mut self) -> Result<Option<Vec<u8>>> {
        let mut buffer = [0; 2048];
        loop {
            let (len, from) = match self.socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if is_timeout(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            if !self.answered && from.ip() == self.server {
                (self.to, self.answered) = (from, true);
            }
            if from == self.to {
                return Ok(Some(buffer[..len].to_vec()));
            }
        }
    }
}

fn request(file: &str, with_size: bool, windowsize: u16) -> Vec<u8> {
    let mut packet = vec![0, 1];
    let (blksize, window) = (BLKSIZE.to_string(), windowsize.to_string());
    let size: &[&str] = if with_size { &["tsize", "0"] } else { &[] };
    let window: &[&str] = if windowsize > 1 { &["windowsize", &window] } else { &[] };
    for word in [file, "octet"].iter().chain(size).chain(&["blksize", &blksize]).chain(window) {
        packet.extend_from_slice(word.as_bytes());
        packet.push(0);
    }
    packet
}

fn ack(block: u16) -> [u8; 4] {
    let [high, low] = block.to_be_bytes();
    [0, 4, high, low]
}

/// The options of an OACK.
fn options(packet: &[u8]) -> Result<Vec<(String, usize)>> {
    let words = packet.strip_prefix(&[0, 6]).with_context(|| format!("not an OACK: {}", shown(packet)))?;
    let words = words.strip_suffix(&[0]).context("the OACK has no final NUL")?;
    let words: Vec<_> = words.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let pair = |pair: &[Cow<'_, str>]| match pair {
        [name, value] => Ok((name.to_lowercase(), value.parse()?)),
        _ => bail!("an option of the OACK has no value"),
    };
    words.chunks(2).map(pair).collect()
}

/// The start of a packet, for error messages.
fn shown(packet: &[u8]) -> String {
    packet[..packet.len().min(60)].escape_ascii().to_string()
}
