//! Who can be a client: the one rule for whom anything may be sent to, in the kernel and in user space.

use crate::{Drop, Service, wire};

/// Ports below this belong to servers of a host: no boot client sends its requests for files from there
/// (`docs/clients.md`, section 2).
pub const FIRST_CLIENT_PORT: u16 = 1024;

/// Our own addresses on an interface, in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// Ours.
    pub address: [u8; 4],
    /// The subnet's broadcast address.
    pub broadcast: [u8; 4],
}

/// Whether a machine that asks for `service` can have sent this: no reply goes to many hosts, to ourselves, or to another
/// server (`docs/clients.md`, section 5, line 10).
///
/// `mac` is the frame's source, or 0 where sockets hide it.
///
/// # Errors
/// What speaks against it.
#[inline(always)]
pub fn is_client(own: Own, service: Service, mac: [u8; 6], from: ([u8; 4], u16)) -> Result<(), Drop> {
    let (address, port) = from;
    // IEEE 802.3, section 3.2.3: the first bit of a group address is set.
    let is_group = mac[0] & 1 != 0;
    if is_group || service != Service::Dhcp && !is_host(own, address) {
        return Err(Drop::SourceAddress);
    }
    let is_client = match (service, port) {
        // The answer to a request on 67 goes to everybody, or to the relay that it names.
        (Service::Dhcp, _) => true,
        // iPXE asks from 68, EDK2 from 4011, and that is where they want the answer.
        (Service::BootServer, wire::PORT_DHCP_CLIENT | wire::PORT_PXE) => true,
        (_, wire::PORT_PXE) => false,
        _ => port >= FIRST_CLIENT_PORT,
    };
    if is_client { Ok(()) } else { Err(Drop::SourcePort) }
}

/// Whether an address can belong to another host (RFC 1122, section 3.2.1.3).
#[inline(always)]
fn is_host(own: Own, address: [u8; 4]) -> bool {
    let first = address[0];
    let number = u32::from_ne_bytes(address);
    !(first == 0 || first == 127 || first >= 224)
        && number != u32::from_ne_bytes(own.address)
        && number != u32::from_ne_bytes(own.broadcast)
}
