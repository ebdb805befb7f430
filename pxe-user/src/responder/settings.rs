//! What a responder is told at its start, and what follows from it for strangers' addresses.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use pxe_common::wire;

use super::places::Places;
use crate::dhcp::Style;
use crate::tftp::table::TidPorts;
use crate::tftp::terms::Limits;

/// What a responder is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The interface's name, for events.
    pub interface: Arc<str>,
    /// Our address on the interface.
    pub address: Ipv4Addr,
    /// The subnet's broadcast address.
    pub broadcast: Ipv4Addr,
    /// What the path and the administrator allow.
    pub limits: Limits,
    /// Most transfers at a time.
    pub transfers: usize,
    /// Our TIDs.
    pub ports: TidPorts,
    /// How machines are told, unless they have shown that they want it otherwise.
    pub style: Style,
    /// Whether a request for a file shows whose it is, so that we can learn what a machine's firmware understands.
    /// Sockets hide the sender's Ethernet address.
    pub learns: bool,
    /// Where files may be put; without it, requests to write are refused.
    pub uploads: Option<Places>,
}

impl Settings {
    /// Whether an address and port can be a client's: no reply goes to many hosts, to ourselves, or to another server
    /// (clients.md, section 5, line 10).
    pub(super) fn is_client(&self, from: SocketAddrV4) -> bool {
        let address = *from.ip();
        let server_port =
            matches!(from.port(), 0 | wire::PORT_DHCP_SERVER | wire::PORT_TFTP | wire::PORT_PXE);
        let [first, ..] = address.octets();
        !(server_port || first == 0 || first == 127 || first >= 224)
            && address != self.address
            && address != self.broadcast
    }

    /// Whether a datagram was sent to more hosts than us.
    pub(super) fn is_to_many(&self, to: SocketAddrV4) -> bool {
        to.ip().is_broadcast() || to.ip().is_multicast() || *to.ip() == self.broadcast
    }

    /// Whether a DHCP request is for us: a card that hears everything (a bridge's) brings those to other servers, too.
    pub(super) fn is_for_us(&self, to: SocketAddrV4) -> bool {
        *to.ip() == self.address || to.ip().is_broadcast() || *to.ip() == self.broadcast
    }
}
