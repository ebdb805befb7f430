//! What is kept for each transfer beside its state.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::carried::Carrier;
use super::host::Route;
use super::places::Ticket;
use crate::boot::Image;
use crate::datagram::Link;
use crate::tftp::packet::Asked;
use crate::tftp::table::Entry;
use crate::tftp::transfer::Transfer;

/// What is kept for each transfer beside its state.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) link: Link,
    /// The address that the client used: its replies come from there (RFC 1123, section 4.2.3.4 in spirit).
    pub(super) server: Ipv4Addr,
    pub(super) asked: Asked,
    pub(super) image: Option<Arc<Image>>,
    /// It is an upload.
    pub(super) upload: Option<Ticket>,
    /// It waits for room to send.
    pub(super) queued: bool,
    pub(super) carrier: Carrier,
}

/// The way of what is sent to a client.
pub(super) fn route(entry: &Entry<Context>) -> Route {
    Route {
        link: entry.context.link,
        from: SocketAddrV4::new(entry.context.server, entry.port),
        to: entry.client,
    }
}

impl Entry<Context> {
    /// What sending needs of an entry.
    pub(super) fn sending(&mut self) -> Option<(Route, &mut Transfer, &mut Context)> {
        let route = route(self);
        let (transfer, context) = self.parts_mut();
        Some((route, transfer?, context))
    }
}
