//! The data that the service stores for each transfer, beside the transfer's state machine.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::super::{Route, UploadPermit};
use super::offload::OffloadState;
use pxe_content::boot::Image;
use pxe_fleet::event::{Peer, Transport};
use pxe_proto::datagram::Link;
use pxe_proto::tftp::packet::RequestedOptions;
use pxe_proto::tftp::send_session::SendSession;
use pxe_proto::tftp::table::Entry;

/// The data that the service stores for each transfer, beside the transfer's state machine.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) link: Link,
    /// Our address as the client used it. Replies come from the same address (in the spirit of RFC 1123,
    /// section 4.2.3.4).
    pub(super) server: Ipv4Addr,
    pub(super) requested: RequestedOptions,
    /// The file that pxed sends. `None` until it is loaded, and for uploads.
    pub(super) image: Option<Arc<Image>>,
    /// The permit of an upload while it runs. `None` for a transfer to a client.
    pub(super) upload: Option<UploadPermit>,
    /// The transfer is in the backlog.
    pub(super) queued: bool,
    pub(super) offload: OffloadState,
}

impl Context {
    pub(super) fn new(link: Link, server: Ipv4Addr, requested: RequestedOptions) -> Self {
        Self {
            link,
            server,
            requested,
            image: None,
            upload: None,
            queued: false,
            offload: OffloadState::default(),
        }
    }
}

/// The route of packets to the transfer's client.
pub(super) fn route(entry: &Entry<Context>) -> Route {
    Route {
        link: entry.context.link,
        from: SocketAddrV4::new(entry.context.server, entry.port),
        to: entry.client,
    }
}

/// The parts of an entry that sending needs. `None` if there is no running transfer to a client.
pub(super) fn sending(entry: &mut Entry<Context>) -> Option<(Route, &mut SendSession, &mut Context)> {
    let route = route(entry);
    let (transfer, context) = entry.parts_mut();
    Some((route, transfer?, context))
}

/// The transfer's client, as the fleet identifies it.
pub(super) fn peer(entry: &Entry<Context>) -> Peer {
    Peer { address: entry.client, mac: entry.context.link.peer, transport: Transport::Tftp }
}
