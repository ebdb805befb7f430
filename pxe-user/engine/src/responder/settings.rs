//! What a responder is told at its start, and what follows from it for strangers' addresses.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use pxe_common::Service;
use pxe_common::source_filter::{self, Own};

use super::UploadLimiter;
use pxe_proto::datagram::Datagram;
use pxe_proto::dhcp::Style;
use pxe_proto::tftp::negotiation::OptionLimits;
use pxe_proto::tftp::table::TidPorts;

/// What a responder is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The interface's name, for events.
    pub interface: Arc<str>,
    /// Our address on the interface.
    pub address: Ipv4Addr,
    /// The subnet's mask.
    pub mask: Ipv4Addr,
    /// The subnet's broadcast address.
    pub broadcast: Ipv4Addr,
    /// What the path and the administrator allow.
    pub limits: OptionLimits,
    /// Most transfers at a time.
    pub transfers: usize,
    /// Our TIDs.
    pub ports: TidPorts,
    /// How machines are told, unless they have shown that they want it otherwise.
    pub style: Style,
    /// Whether a request for a file shows whose it is, so that we can learn what a machine's firmware understands.
    /// Sockets hide the sender's Ethernet address.
    pub learns: bool,
    /// Whether machines are served whose frames on our link have another source than `chaddr`.
    pub foreign_chaddr: bool,
    /// Whether it is seen to here how often sources ask; a kernel program does it before.
    pub meters: bool,
    /// Where files may be put; without it, requests to write are refused.
    pub uploads: Option<UploadLimiter>,
}

impl Settings {
    /// Whether a machine that asks for `service` can have sent this: the kernel's own rule.
    pub(super) fn is_client(&self, service: Service, datagram: &Datagram<'_>) -> bool {
        let own = Own { address: self.address.octets(), broadcast: self.broadcast.octets() };
        let from = (datagram.from.ip().octets(), datagram.from.port());
        source_filter::is_client(own, service, datagram.link.peer.0, from).is_ok()
    }

    /// Whether a datagram was sent to more hosts than us.
    pub(super) fn is_to_many(&self, to: SocketAddrV4) -> bool {
        to.ip().is_broadcast() || to.ip().is_multicast() || *to.ip() == self.broadcast
    }

    /// Whether who sends from an address is on our link: an address of our subnet, or none yet.
    pub(super) fn is_near(&self, from: Ipv4Addr) -> bool {
        from.is_unspecified() || (from.to_bits() ^ self.address.to_bits()) & self.mask.to_bits() == 0
    }

    /// Whether a DHCP request is for us: a card that hears everything (a bridge's) brings those to other servers, too.
    pub(super) fn is_for_us(&self, to: SocketAddrV4) -> bool {
        *to.ip() == self.address || to.ip().is_broadcast() || *to.ip() == self.broadcast
    }
}
