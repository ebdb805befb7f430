//! What the responder keeps for each transfer beside its state machine.

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

/// What the responder keeps for each transfer beside its state machine.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) link: Link,
    /// The address that the client used: replies come from there (RFC 1123, section 4.2.3.4 in spirit).
    pub(super) server: Ipv4Addr,
    pub(super) requested: RequestedOptions,
    /// The file that is sent; `None` until it is loaded, and for uploads.
    pub(super) image: Option<Arc<Image>>,
    /// The transfer is an upload.
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

/// The way of what is sent to a client.
pub(super) fn route(entry: &Entry<Context>) -> Route {
    Route {
        link: entry.context.link,
        from: SocketAddrV4::new(entry.context.server, entry.port),
        to: entry.client,
    }
}

/// What sending needs of an entry.
pub(super) fn sending(entry: &mut Entry<Context>) -> Option<(Route, &mut SendSession, &mut Context)> {
    let route = route(entry);
    let (transfer, context) = entry.parts_mut();
    Some((route, transfer?, context))
}

/// A transfer's client, for the fleet.
pub(super) fn peer(entry: &Entry<Context>) -> Peer {
    Peer { address: entry.client, mac: entry.context.link.peer, transport: Transport::Tftp }
}
