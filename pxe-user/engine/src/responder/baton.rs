//! Transfers that pass from one daemon to the next, in the middle of their files.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::{Carrier, Context, Host, Responder};
use crate::tally::Other;
use pxe_content::boot::Image;
use pxe_proto::datagram::Link;
use pxe_proto::tftp::packet::Asked;
use pxe_proto::tftp::table::Id;
use pxe_proto::tftp::transfer::{Standing, Transfer};
use pxe_proto::time::Timestamp;

/// A transfer to a client, on its way to who goes on with it.
#[derive(Clone, Debug)]
pub struct Baton {
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
    pub standing: Standing,
}

impl Responder {
    /// Lets go of all transfers: somebody else goes on with them. Uploads, and requests that wait for a slot or a file, are not
    /// among them: their clients ask again, or give up.
    pub fn pass_on(&mut self, host: &mut impl Host) -> Vec<Baton> {
        let ids: Vec<Id> = self.table.under_way(0).collect();
        let batons: Vec<Baton> = ids.into_iter().filter_map(|id| self.let_go(id, host)).collect();
        self.tally.add(Other::PassedOn, batons.len() as u64);
        batons
    }

    fn let_go(&mut self, id: Id, host: &mut impl Host) -> Option<Baton> {
        self.take_back(id, host);
        let entry = self.table.get(id)?;
        let standing = entry.transfer()?.standing()?;
        let Context { link, server, image, .. } = &entry.context;
        let image = Arc::clone(image.as_ref()?);
        Some(Baton { client: entry.client, port: entry.port, link: *link, server: *server, image, standing })
    }

    /// Goes on with a transfer of another daemon's. False if it does not belong here, or cannot be as it says.
    pub fn resume(&mut self, now: Timestamp, baton: Baton, host: &mut impl Host) -> bool {
        let Baton { client, port, link, server, image, standing } = baton;
        let is_of_image = standing.size == image.len();
        let Some((transfer, step)) = Transfer::resume(now, &standing).filter(|_| is_of_image) else {
            return false;
        };
        let (asked, image, carrier) = (Asked::default(), Some(image), Carrier::default());
        let context = Context { link, server, asked, image, upload: None, queued: false, carrier };
        let Some(id) = self.table.resume(client, port, context, transfer) else { return false };
        if !self.open(id, host) {
            return false;
        }
        self.tally.count(Other::Resumed);
        self.perform(now, id, step, host);
        true
    }
}
