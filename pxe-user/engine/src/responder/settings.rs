//! The settings of a responder, which are fixed at its start, and the checks of addresses that follow from
//! them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use pxe_common::Service;
use pxe_common::source_filter::{self, Own};

use super::UploadLimiter;
use pxe_proto::datagram::Datagram;
use pxe_proto::tftp::negotiation::OptionLimits;
use pxe_proto::tftp::table::TidPorts;

/// The settings of a responder. They do not change while it runs; what changes is in
/// [`Sources`](super::Sources).
#[derive(Clone, Debug)]
pub struct ResponderSettings {
    /// The interface's name, for rules and events.
    pub interface: Arc<str>,
    /// Our address on the interface.
    pub address: Ipv4Addr,
    /// The subnet's mask.
    pub mask: Ipv4Addr,
    /// The subnet's broadcast address.
    pub broadcast: Ipv4Addr,
    /// Largest block and window, by the path's MTU and the configuration.
    pub limits: OptionLimits,
    /// Most transfers at a time.
    pub transfers: usize,
    /// The range of our TIDs.
    pub ports: TidPorts,
    /// Whether the datapath shows a frame's Ethernet address, so that pxed can learn from a machine's
    /// requests for files which style its firmware understands. Plain sockets hide the address.
    pub sees_ethernet: bool,
    /// Whether pxed answers a machine on our link whose frames have another source than `chaddr`.
    pub foreign_chaddr: bool,
    /// Whether the responder itself limits the rate of requests, and leaves out machines of other responders of
    /// the segment. False with XDP, where the kernel program does.
    pub filters_requests: bool,
    /// The limit on uploads. `None` if uploads are not configured: write requests are refused.
    pub uploads: Option<UploadLimiter>,
}

impl ResponderSettings {
    /// Whether a client of `service` can have sent this datagram. The kernel program applies the same rule.
    pub(super) fn is_client(&self, service: Service, datagram: &Datagram<'_>) -> bool {
        let own = Own { address: self.address.octets(), broadcast: self.broadcast.octets() };
        let from = (datagram.from.ip().octets(), datagram.from.port());
        source_filter::is_client(own, service, datagram.link.peer.0, from).is_ok()
    }

    /// Whether a datagram was sent to a broadcast or multicast address.
    pub(super) fn is_to_many(&self, to: SocketAddrV4) -> bool {
        to.ip().is_broadcast() || to.ip().is_multicast() || *to.ip() == self.broadcast
    }

    /// Whether a sender is on our link: it has an address of our subnet, or none yet.
    pub(super) fn is_near(&self, from: Ipv4Addr) -> bool {
        from.is_unspecified() || (from.to_bits() ^ self.address.to_bits()) & self.mask.to_bits() == 0
    }

    /// Whether a DHCP request is for pxed. An interface that receives all frames, such as a bridge's port,
    /// also receives requests to other servers.
    pub(super) fn is_for_us(&self, to: SocketAddrV4) -> bool {
        *to.ip() == self.address || to.ip().is_broadcast() || *to.ip() == self.broadcast
    }
}
