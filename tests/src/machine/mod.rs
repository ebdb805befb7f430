//! One simulated machine with the manners of EDK2's PXE (clients.md sections 1 and 2): what an OVMF machine sends, in its
//! order, with its limits. It lives in the caller's network namespace.

mod offer;
mod tftp;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

pub use offer::Offer;
pub use tftp::{load, load_in_lock_step};

/// How long it waits for an OFFER each time it asks, in seconds. The real one listens all through the first four seconds.
const DISCOVER_WAITS: [u64; 4] = [4, 8, 16, 32];
/// The largest OFFER that it takes: its buffer.
const OFFER_MAX: usize = 1472;

/// Broadcasts a DISCOVER from port 68 of an interface, which needs no address, until an OFFER comes that EDK2 would take.
///
/// # Errors
/// When none comes; with what was wrong with the last one.
pub fn discover(interface: &str, discover: &[u8]) -> Result<Offer> {
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
