//! What is kept for each transfer beside its state.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::host::Route;
use super::offloaded::OffloadState;
use super::upload_limiter::UploadPermit;
use pxe_content::boot::Image;
use pxe_proto::datagram::Link;
use pxe_proto::tftp::packet::RequestedOptions;
use pxe_proto::tftp::send_session::SendSession;
use pxe_proto::tftp::table::Entry;

/// What is kept for each transfer beside its state.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) link: Link,
    /// The address that the client used: its replies come from there (RFC 1123, section 4.2.3.4 in spirit).
    pub(super) server: Ipv4Addr,
    pub(super) requested: RequestedOptions,
    pub(super) image: Option<Arc<Image>>,
    /// It is an upload.
    pub(super) upload: Option<UploadPermit>,
    /// It waits for room to send.
    pub(super) queued: bool,
    pub(super) offload_state: OffloadState,
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
