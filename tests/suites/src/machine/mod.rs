//! A simulated machine with the behaviour of EDK2's PXE (clients.md sections 1 and 2): it sends what an OVMF machine
//! sends, in the same order and with the same limits. It runs in the caller's network namespace.
//!
//! It is an independent check: it has its own code for DHCP and TFTP, over the system's sockets. It must not share code
//! with pxed or with the simulated clients of `pxe-clients`, because an error in shared code would hide itself. The
//! tests with curl, tftp-hpa and atftp (`tests/clients`) serve the same purpose.

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

/// The waits for an OFFER after each DISCOVER, in seconds.
const DISCOVER_WAITS: [u64; 4] = [4, 8, 16, 32];
/// The size of EDK2's buffer for an OFFER.
const OFFER_MAX: usize = 1472;

/// The place of `chaddr` in a message (RFC 2131, figure 1).
const CHADDR: std::ops::Range<usize> = 28..34;

/// Broadcasts a DISCOVER from port 68 of an interface until an OFFER arrives that EDK2 accepts. The interface needs no
/// address. Its Ethernet address replaces the recorded one.
///
/// # Errors
/// If no such OFFER arrives. The error says what was wrong with the last one.
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
        // At most one OFFER for each DISCOVER, because the network has only one responder.
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

/// An interface's Ethernet address. By `ip`, because `/sys` may belong to another network namespace.
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
