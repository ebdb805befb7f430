//! What the responder needs of the world around it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::upload_limiter::UploadPermit;
use super::uploads::UploadName;
use pxe_content::boot::{FileName, Image};
use pxe_fleet::event::{Event, Peer};
use pxe_proto::datagram::Link;
use pxe_proto::mac::Mac;
use pxe_proto::tftp::Block;
use pxe_proto::tftp::packet::data_header;
use pxe_proto::tftp::receive_session::BlockAccepted;
use pxe_proto::tftp::send_session::SteadyState;
use pxe_proto::tftp::table::Id;
use pxe_proto::time::Timestamp;

/// The way of an outgoing datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The neighbour.
    pub link: Link,
    /// Our address and port.
    pub from: SocketAddrV4,
    /// The client's address and port.
    pub to: SocketAddrV4,
}

/// Consecutive blocks of a file.
#[derive(Clone, Copy, Debug)]
pub struct Blocks<'a> {
    /// The file.
    pub image: &'a Arc<Image>,
    /// Bytes per block.
    pub blksize: u16,
    /// The first block.
    pub first: Block,
    /// How many.
    pub count: u64,
}

impl Blocks<'_> {
    /// The header and the place in the file of the `index`th of these blocks.
    pub fn get(&self, index: u64) -> ([u8; 4], std::ops::Range<usize>) {
        let block = self.first + index;
        let len = self.image.bytes().len() as u64;
        let start = block.offset(self.blksize).min(len);
        let end = (start + u64::from(self.blksize)).min(len);
        (data_header(block), start as usize..end as usize)
    }
}

/// A transfer that somebody else may carry on.
#[derive(Clone, Copy, Debug)]
pub struct OffloadRequest<'a> {
    /// Its name in our table.
    pub id: Id,
    /// The client's TID.
    pub client: SocketAddrV4,
    /// Our TID.
    pub port: u16,
    /// The file.
    pub image: &'a Arc<Image>,
    /// Bytes per block.
    pub blksize: u16,
    /// Where it stands.
    pub steady: SteadyState,
    /// It was accepted before: nothing but `steady` has changed.
    pub again: bool,
}

/// The answer to an [`OffloadRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffloadAnswer {
    /// Accepted: until it is taken back, nothing may be sent for it here.
    Accepted,
    /// Not yet: the file is being prepared.
    NotYet,
    /// Not this transfer.
    Never,
}

/// How far an accepted transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffloadProgress {
    /// Every block up to this one has been sent.
    pub sent: Block,
    /// When the client was last heard.
    pub heard: Timestamp,
}

/// What the responder needs of the world around it.
pub trait Host {
    /// Sends a small packet; if there is no room it is lost, as on a wire.
    fn control(&mut self, route: &Route, payload: &[u8]);

    /// Sends blocks as DATA; returns how many there was room for.
    fn data(&mut self, route: &Route, blocks: &Blocks<'_>) -> u64;

    /// From now on packets from `client` to our port `port` shall come here. False if there is no room for that.
    fn open(&mut self, client: SocketAddrV4, port: u16, slot: u32) -> bool;

    /// No longer.
    fn close(&mut self, client: SocketAddrV4, port: u16);

    /// Asks the loader for a file for this client, which uses this address of ours; [`loaded`](super::Responder::loaded) brings the answer. False if too
    /// many wait.
    fn load(&mut self, id: Id, name: &FileName, peer: Peer, server: Ipv4Addr) -> bool;

    /// Asks for a place in the inbox for a file of this client's; [`on_inbox_reply`](super::Responder::on_inbox_reply) brings the answer. False if
    /// there is no inbox.
    fn put(&mut self, _id: Id, _ticket: &UploadPermit, _name: &UploadName, _peer: Peer) -> bool {
        false
    }

    /// Takes the next block of such a file; after the last one, [`on_inbox_reply`](super::Responder::on_inbox_reply) says whether it is kept. It also
    /// says when there is room again after [`BlockAccepted::NoRoom`].
    fn store(&mut self, _ticket: &UploadPermit, _bytes: &[u8], _last: bool) -> BlockAccepted {
        BlockAccepted::No
    }

    /// The Ethernet address that belongs to an IPv4 address, where the datapath does not show it and the host knows it.
    fn neighbour(&mut self, _address: Ipv4Addr) -> Option<Mac> {
        None
    }

    /// A machine asks for a file: the worker that answers its DISCOVERs wants to know.
    fn file_requested(&mut self, _mac: Mac) {}

    /// Offers a transfer to be carried on by whoever can do that faster: the kernel.
    fn offload(&mut self, _offer: &OffloadRequest<'_>) -> OffloadAnswer {
        OffloadAnswer::Never
    }

    /// How far an accepted transfer is.
    fn offload_progress(&mut self, _id: Id) -> Option<OffloadProgress> {
        None
    }

    /// Takes an accepted transfer back; says how far it is.
    fn reclaim(&mut self, _id: Id) -> Option<OffloadProgress> {
        None
    }

    /// Whether a block that was sent for us has arrived: somebody whose blocks never arrive gets no more transfers.
    fn arrived(&mut self, _arrived: bool) {}

    /// Something worth a line in the journal; called per request and transfer, never per packet.
    fn record(&mut self, event: Event);
}
