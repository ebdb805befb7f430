//! Requests that have no slot yet.

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
    /// Our address, as the client used it.
    pub(super) server: Ipv4Addr,
    pub(super) requested: RequestedOptions,
}

/// An RRQ or a WRQ.
#[derive(Debug)]
pub(super) enum RequestKind {
    /// The client reads a file.
    Read(FileName),
    /// The client writes a file. The number is the file's size in bytes, if the client announces it.
    Write(UploadName, Option<u64>),
}

impl PendingRequest {
    /// The context of the transfer that this request starts.
    pub(super) fn context(&self) -> Context {
        Context::new(self.link, self.server, self.requested)
    }
}

/// Size of the queue of requests, for so many transfers at a time. In a flood, each forged request removes
/// the oldest request that was not repeated. The queue must be long enough that a real client has repeated
/// its request before that.
pub(super) fn pending_places(transfers: usize) -> usize {
    transfers.clamp(1024, 4096)
}
