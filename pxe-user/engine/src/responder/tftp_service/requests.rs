//! What a request asks for, as long as it has no slot.

use std::net::Ipv4Addr;

use super::super::UploadName;
use super::context::Context;
use pxe_content::boot::FileName;
use pxe_proto::datagram::Link;
use pxe_proto::tftp::packet::RequestedOptions;

/// A request that has no slot yet.
#[derive(Debug)]
pub(super) struct PendingRequest {
    pub(super) file: RequestKind,
    pub(super) link: Link,
    /// The address that the client used.
    pub(super) server: Ipv4Addr,
    pub(super) requested: RequestedOptions,
}

/// An RRQ or a WRQ.
#[derive(Debug)]
pub(super) enum RequestKind {
    /// The client reads a file.
    Read(FileName),
    /// The client writes a file; its size in bytes, if the client announces it.
    Write(UploadName, Option<u64>),
}

impl PendingRequest {
    /// The context of the transfer that this request begins.
    pub(super) fn context(&self) -> Context {
        Context::new(self.link, self.server, self.requested)
    }
}

/// Places in the queue of requests that wait, for so many transfers. A flood of forged requests pushes a client out after as
/// many requests as there are places: these must last until a real client has asked again.
pub(super) fn pending_places(transfers: usize) -> usize {
    transfers.clamp(1024, 4096)
}
