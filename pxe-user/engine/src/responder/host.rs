//! What the responder needs from its worker, by role. Tests implement the same traits.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::upload_limiter::UploadPermit;
use arrayvec::ArrayString;
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

/// The name of an upload as the client wrote it, without slashes in front. The inbox checks whether the name
/// is allowed.
pub type UploadName = ArrayString<{ u8::MAX as usize }>;

/// The source and destination of an outgoing datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The neighbour that gets the frame, with its VLAN tags.
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
    /// How many blocks.
    pub count: u64,
}

impl Blocks<'_> {
    /// The TFTP header of the `index`th of these blocks, counted from 0, and the block's byte range in the
    /// file.
    pub fn get(&self, index: u64) -> ([u8; 4], std::ops::Range<usize>) {
        let block = self.first + index;
        let len = self.image.bytes().len() as u64;
        let start = block.offset(self.blksize).min(len);
        let end = (start + u64::from(self.blksize)).min(len);
        (data_header(block), start as usize..end as usize)
    }
}

/// A transfer in its steady state that the kernel may continue.
#[derive(Clone, Copy, Debug)]
pub struct OffloadRequest<'a> {
    /// The transfer's slot in our table.
    pub id: Id,
    /// The client's TID.
    pub client: SocketAddrV4,
    /// Our TID.
    pub port: u16,
    /// The file.
    pub image: &'a Arc<Image>,
    /// Bytes per block.
    pub blksize: u16,
    /// How far the transfer is.
    pub steady: SteadyState,
    /// The kernel had this transfer before, and nothing but `steady` has changed since.
    pub again: bool,
}

/// The answer to an [`OffloadRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffloadAnswer {
    /// The kernel has the transfer. Until [`KernelOffload::reclaim`], user space must not send for it.
    Accepted,
    /// The kernel does not have the file yet: the loader puts it there. The transfer may be offered again.
    NotYet,
    /// The kernel cannot send this transfer, or does not send any at the moment. It is not offered again.
    Never,
}

/// How far an offloaded transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffloadProgress {
    /// The last block that the kernel has sent. It has sent all earlier blocks, too.
    pub sent: Block,
    /// When the client's last ACK arrived.
    pub heard: Timestamp,
}

/// Sends datagrams, and opens ports for answers.
pub trait Transmit {
    /// Sends a small packet. If the send queue is full, the packet is lost, as on a wire.
    fn control(&mut self, route: &Route, payload: &[u8]);

    /// Sends blocks as DATA. Returns for how many of them the send queue had room.
    fn data(&mut self, route: &Route, blocks: &Blocks<'_>) -> u64;

    /// Directs packets from `client` to our port `port` to this worker, for the transfer in `slot`. Returns
    /// false if the kernel's table of transfers is full.
    fn open(&mut self, client: SocketAddrV4, port: u16, slot: u32) -> bool;

    /// Undoes [`Self::open`].
    fn close(&mut self, client: SocketAddrV4, port: u16);

    /// Looks up the Ethernet address of a neighbour, for datapaths that do not show frames. `None` if the
    /// host does not know it.
    fn neighbour(&mut self, _address: Ipv4Addr) -> Option<Mac> {
        None
    }
}

/// Loads boot files and stores uploads, on other threads.
pub trait Storage {
    /// Asks the loader for a file for this client, which uses our address `server`. The reply comes through
    /// [`Responder::loaded`](super::Responder::loaded). Returns false if too many requests wait.
    fn load(&mut self, id: Id, name: &FileName, peer: Peer, server: Ipv4Addr) -> bool;

    /// Asks the inbox to create a file for this client. The reply comes through
    /// [`Responder::on_inbox_reply`](super::Responder::on_inbox_reply). Returns false if there is no inbox.
    fn put(&mut self, _id: Id, _permit: &UploadPermit, _name: &UploadName, _peer: Peer) -> bool {
        false
    }

    /// Queues the next block of an upload. A reply comes through
    /// [`Responder::on_inbox_reply`](super::Responder::on_inbox_reply) after the `last` block, and after
    /// [`BlockAccepted::NoRoom`] when there is room again.
    fn store(&mut self, _permit: &UploadPermit, _bytes: &[u8], _last: bool) -> BlockAccepted {
        BlockAccepted::No
    }
}

/// Lets the kernel answer ACKs of transfers in their steady state. The default methods are for a datapath
/// without this.
pub trait KernelOffload {
    /// Offers a transfer to the kernel.
    fn offload(&mut self, _offer: &OffloadRequest<'_>) -> OffloadAnswer {
        OffloadAnswer::Never
    }

    /// How far an offloaded transfer is, without taking it back; `None` if the kernel does not have it.
    fn offload_progress(&mut self, _id: Id) -> Option<OffloadProgress> {
        None
    }

    /// Takes an offloaded transfer back. Returns how far it is; `None` if the kernel did not have it.
    fn reclaim(&mut self, _id: Id) -> Option<OffloadProgress> {
        None
    }

    /// Reports whether a block that the kernel sent has arrived. If no block ever arrives, the kernel gets no
    /// more transfers for a while.
    fn arrived(&mut self, _arrived: bool) {}
}

/// Reports events.
pub trait Events {
    /// Reports an event to the fleet. The responder calls this for requests and transfers, not for single
    /// packets.
    fn record(&mut self, event: Event);

    /// Tells the worker that answers DISCOVERs that this machine has asked for a file.
    fn file_requested(&mut self, _mac: Mac) {}
}

/// All roles of a responder's host together.
pub trait Host: Transmit + Storage + KernelOffload + Events {}

impl<T: Transmit + Storage + KernelOffload + Events> Host for T {}
