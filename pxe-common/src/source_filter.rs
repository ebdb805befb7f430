//! Which senders can be clients. The kernel programs and user space apply the same rule, and pxed sends
//! nothing to any other sender.

use crate::{Drop, Service, wire};

/// First source port of a client. Ports below it belong to servers: no boot client sends requests for files
/// from them (`docs/clients.md`, section 2).
pub const FIRST_CLIENT_PORT: u16 = 1024;

/// pxed's own addresses on an interface, in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// pxed's address.
    pub address: [u8; 4],
    /// The subnet's broadcast address.
    pub broadcast: [u8; 4],
}

/// Whether a client of `service` can have sent this packet. This check prevents replies to many hosts, to
/// pxed itself, or to another server (`docs/clients.md`, section 5, line 10).
///
/// `mac` is the frame's source; zeros where a socket does not show it. `from` is the sender's IPv4 address
/// and UDP port.
///
/// # Errors
/// The reason why the sender cannot be a client.
#[inline(always)]
pub fn is_client(own: Own, service: Service, mac: [u8; 6], from: ([u8; 4], u16)) -> Result<(), Drop> {
    let (address, port) = from;
    // IEEE 802.3, section 3.2.3: the first bit of a group address is set.
    let is_group = mac[0] & 1 != 0;
    if is_group || service != Service::Dhcp && !is_host(own, address) {
        return Err(Drop::SourceAddress);
    }
    let is_client = match (service, port) {
        // The reply to a request on port 67 goes to the broadcast address, or to the relay that the request
        // names.
        (Service::Dhcp, _) => true,
        // iPXE sends from port 68 and EDK2 from port 4011, and they expect the reply there.
        (Service::BootServer, wire::PORT_DHCP_CLIENT | wire::PORT_PXE) => true,
        (_, wire::PORT_PXE) => false,
        _ => port >= FIRST_CLIENT_PORT,
    };
    if is_client { Ok(()) } else { Err(Drop::SourcePort) }
}

/// Whether `address` can belong to another host (RFC 1122, section 3.2.1.3).
#[inline(always)]
fn is_host(own: Own, address: [u8; 4]) -> bool {
    let first = address[0];
    let number = u32::from_ne_bytes(address);
    !(first == 0 || first == 127 || first >= 224)
        && number != u32::from_ne_bytes(own.address)
        && number != u32::from_ne_bytes(own.broadcast)
}
