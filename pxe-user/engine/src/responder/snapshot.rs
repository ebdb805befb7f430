//! Transfers that pass from one daemon to the next, in the middle of their files.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::{Context, Host, OffloadState, Responder};
use crate::counters::Counter;
use pxe_content::boot::Image;
use pxe_proto::datagram::Link;
use pxe_proto::tftp::packet::RequestedOptions;
use pxe_proto::tftp::send_session::{SendSession, SendSnapshot};
use pxe_proto::tftp::table::Id;
use pxe_proto::time::Timestamp;

/// A transfer to a client, on its way to who goes on with it.
#[derive(Clone, Debug)]
pub struct TransferSnapshot {
    /// The client's TID.
    pub client: SocketAddrV4,
    /// Our TID.
    pub port: u16,
    /// The neighbour.
    pub link: Link,
    /// Our address, as the client used it.
    pub server: Ipv4Addr,
    /// The file.
    pub image: Arc<Image>,
    /// Where it stands.
    pub session: SendSnapshot,
}

impl Responder {
    /// Lets go of all transfers: somebody else goes on with them. Uploads, and requests that wait for a slot or a file, are not
    /// among them: their clients ask again, or give up.
    pub fn pass_on(&mut self, host: &mut impl Host) -> Vec<TransferSnapshot> {
        let ids: Vec<Id> = self.table.under_way(0).collect();
        let snapshots: Vec<TransferSnapshot> =
            ids.into_iter().filter_map(|id| self.let_go(id, host)).collect();
        self.counters.add(Counter::PassedOn, snapshots.len() as u64);
        snapshots
    }

    fn let_go(&mut self, id: Id, host: &mut impl Host) -> Option<TransferSnapshot> {
        self.reclaim(id, host);
        let entry = self.table.get(id)?;
        let session = entry.transfer()?.snapshot()?;
        let Context { link, server, image, .. } = &entry.context;
        let image = Arc::clone(image.as_ref()?);
        Some(TransferSnapshot {
            client: entry.client,
            port: entry.port,
            link: *link,
            server: *server,
            image,
            session,
        })
    }

    /// Goes on with a transfer of another daemon's. False if it does not belong here, or cannot be as it says.
    pub fn resume(&mut self, now: Timestamp, snapshot: TransferSnapshot, host: &mut impl Host) -> bool {
        let TransferSnapshot { client, port, link, server, image, session } = snapshot;
        let is_of_image = session.size == image.len();
        let Some((transfer, step)) = SendSession::resume(now, &session).filter(|_| is_of_image) else {
            return false;
        };
        let (requested, image, offload_state) =
            (RequestedOptions::default(), Some(image), OffloadState::default());
        let context = Context { link, server, requested, image, upload: None, queued: false, offload_state };
        let Some(id) = self.table.resume(client, port, context, transfer) else { return false };
        if !self.open(id, host) {
            return false;
        }
        self.counters.count(Counter::Resumed);
        self.perform(now, id, step, host);
        true
    }
}
