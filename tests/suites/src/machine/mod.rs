//! One simulated machine with the manners of EDK2's PXE (clients.md sections 1 and 2): what an OVMF machine sends, in its
//! order, with its limits. It lives in the caller's network namespace.
//!
//! It is an oracle: the only client of ours that reads and writes DHCP and TFTP by its own code, over the system's own sockets. So
//! it shares nothing with pxed, and nothing with the simulated clients of `pxe-clients`, and must not: what they all had wrong would
//! be right for each other. The tests with curl, tftp-hpa and atftp (`tests/clients`) are of the same use, where those exist.

mod offer;
mod tftp;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use pxe_kit::command;
use socket2::{Domain, Protocol, Socket, Type};

pub use offer::Offer;
pub use tftp::{load, load_in_lock_step};

/// How long it waits for an OFFER each time it asks, in seconds. The real one listens all through the first four seconds.
const DISCOVER_WAITS: [u64; 4] = [4, 8, 16, 32];
/// The largest OFFER that it takes: its buffer.
const OFFER_MAX: usize = 1472;

/// Where a machine's Ethernet address is in a message (RFC 2131, figure 1: chaddr).
const CHADDR: std::ops::Range<usize> = 28..34;

/// Broadcasts a DISCOVER from port 68 of an interface, which needs no address, until an OFFER comes that EDK2 would take. The
/// machine is the interface: its Ethernet address takes the place of the recorded one.
///
/// # Errors
/// When none comes; with what was wrong with the last one.
pub fn discover(interface: &str, discover: &[u8]) -> Result<Offer> {
    let mut discover = discover.to_vec();
    discover[CHADDR].copy_from_slice(&address_of(interface)?);
    let discover = &discover;
    let socket = port_68(interface).context("the machine has no port 68")?;
    let mut refused = None;
    for seconds in DISCOVER_WAITS {
        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
        socket.send_to(discover, to).context("the machine cannot send its DISCOVER")?;
        socket.set_read_timeout(Some(Duration::from_secs(seconds)))?;
        let mut buffer = [0; OFFER_MAX + 1];
        // One answer for each question: nobody else is on this wire.
        let (len, _) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if is_timeout(&error) => continue,
            Err(error) => return Err(error).context("the machine cannot receive"),
        };
        match Offer::parse(&buffer[..len], discover) {
            Ok(offer) => return Ok(offer),
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) => Err(error.context("no OFFER that EDK2 would take")),
        None => bail!("no OFFER came"),
    }
}

/// An interface's Ethernet address; `/sys` may show another network namespace's.
fn address_of(interface: &str) -> Result<[u8; 6]> {
    let shown = command::output(Command::new("ip").args(["link", "show", "dev", interface]))?;
    let mac = shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap_or_default();
    pxe_kit::load::mac(mac).map_err(|error| anyhow!("{interface} has no Ethernet address ({error}): {shown}"))
}

fn port_68(interface: &str) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_broadcast(true)?;
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68).into())?;
    Ok(socket.into())
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
