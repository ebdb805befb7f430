//! EDK2's way to load a file: a question for the size that ends in an ERROR, then the transfer with an acknowledgement for
//! each window (clients.md section 2).

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::is_timeout;

const BLKSIZE: usize = 1468;
const WINDOWSIZE: u16 = 4;
/// Six tries, four seconds each.
const TRIES: u32 = 6;
const WAIT: Duration = Duration::from_secs(4);

/// Loads a whole file.
///
/// # Errors
/// What the server said or did that EDK2 would not take.
pub fn load(server: Ipv4Addr, file: &str) -> Result<Vec<u8>> {
    let size = size(server, file).context("asking for the size")?;
    let bytes = transfer(server, file, WINDOWSIZE).context("loading")?;
    ensure!(bytes.len() == size, "the size was told as {size}, and {} bytes came", bytes.len());
    Ok(bytes)
}

/// Loads a whole file block by block, as firmware without windows does.
///
/// # Errors
/// As [`load`].
pub fn load_in_lock_step(server: Ipv4Addr, file: &str) -> Result<Vec<u8>> {
    transfer(server, file, 1).context("loading in lock-step")
}

/// The size by an OACK that is answered with ERROR 8, so that no transfer begins.
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

/// A window of 1 is not asked for.
fn transfer(server: Ipv4Addr, file: &str, windowsize: u16) -> Result<Vec<u8>> {
    let mut peer = Peer::open(server)?;
    let answer = peer.exchange(&request(file, false, windowsize))?;
    let mut accepted = options(&answer)?;
    accepted.sort_unstable();
    // An option that it did not ask for, or another value, ends the real one's transfer.
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
            // Every unexpected block is answered, and the window begins anew.
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
            // The rest of the window is on its way; when it is lost, the last good block is acknowledged again.
            match peer.receive()? {
                Some(packet) => packet,
                None => peer.exchange(&ack(last))?,
            }
        };
    }
}

/// One transfer's socket. The server answers from another port than the one that it was asked at (RFC 1350, section 4).
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

    /// Sends a packet until something comes back.
    fn exchange(&mut self, packet: &[u8]) -> Result<Vec<u8>> {
        for _ in 0..TRIES {
            self.send(packet)?;
            if let Some(answer) = self.receive()? {
                return Ok(answer);
            }
        }
        bail!("no answer to {} from {}", shown(packet), self.to)
    }

    /// The next packet of this transfer; none when the time is over.
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

/// The beginning of a packet, for messages.
fn shown(packet: &[u8]) -> String {
    packet[..packet.len().min(60)].escape_ascii().to_string()
}
