//! Snapshots of running transfers, which another process resumes.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::context::Context;
use pxe_content::boot::Image;
use pxe_proto::datagram::Link;
use pxe_proto::tftp::send_session::SendSnapshot;
use pxe_proto::tftp::table::Entry;

/// The state of a transfer to a client, for the process that resumes it.
#[derive(Clone, Debug)]
pub struct TransferSnapshot {
    /// The client's TID.
    pub client: SocketAddrV4,
    /// Our TID.
    pub port: u16,
    /// The neighbour that gets the frames.
    pub link: Link,
    /// Our address, as the client used it.
    pub server: Ipv4Addr,
    /// The file.
    pub image: Arc<Image>,
    /// The state of the transfer's state machine.
    pub session: SendSnapshot,
}

impl TransferSnapshot {
    /// Takes a snapshot. `None` for an upload, and for a transfer that has not begun or has ended.
    pub(super) fn of(entry: &Entry<Context>) -> Option<Self> {
        let session = entry.transfer()?.snapshot()?;
        let Context { link, server, image, .. } = &entry.context;
        let image = Arc::clone(image.as_ref()?);
        Some(Self { client: entry.client, port: entry.port, link: *link, server: *server, image, session })
    }
}
