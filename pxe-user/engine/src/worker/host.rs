//! The worker implements the responder's [`Host`](crate::responder::Host): each call goes to the datapath, to
//! another thread's queue, or to the kernel.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::queues::LoaderRequest;
use super::{Net, WorkerDeps};
use crate::responder::{
    Blocks, Events, KernelOffload, OffloadAnswer, OffloadProgress, OffloadRequest, Route, Storage, Transmit,
    UploadName, UploadPermit,
};
use pxe_content::boot::FileName;
use pxe_fleet::event::{Event, Peer};
use pxe_proto::mac::Mac;
use pxe_proto::tftp::receive_session::BlockAccepted;
use pxe_proto::tftp::table::Id;

/// The host of a responder: the datapath's sending side, and the worker's other dependencies.
pub(super) struct WorkerHost<'a, N> {
    pub(super) net: &'a mut N,
    pub(super) deps: &'a WorkerDeps,
    /// Number of events that found no room in the fleet's queue.
    pub(super) lost: &'a mut u64,
}

impl<N: Net> Transmit for WorkerHost<'_, N> {
    fn control(&mut self, route: &Route, payload: &[u8]) {
        self.net.control(route, payload);
    }

    fn data(&mut self, route: &Route, blocks: &Blocks<'_>) -> u64 {
        self.net.data(route, blocks)
    }

    fn open(&mut self, client: SocketAddrV4, port: u16, slot: u32) -> bool {
        self.net.open(client, port, slot)
    }

    fn close(&mut self, client: SocketAddrV4, port: u16) {
        self.net.close(client, port);
    }

    fn neighbour(&mut self, address: Ipv4Addr) -> Option<Mac> {
        (self.deps.neighbour)(address)
    }
}

impl<N: Net> Storage for WorkerHost<'_, N> {
    fn load(&mut self, id: Id, name: &FileName, peer: Peer, server: Ipv4Addr) -> bool {
        let queues = Arc::clone(&self.deps.queues[self.deps.index]);
        self.deps.loader.push(LoaderRequest::Load { queues, id, name: *name, peer, server })
    }

    fn put(&mut self, id: Id, permit: &UploadPermit, name: &UploadName, peer: Peer) -> bool {
        let queues = &self.deps.queues[self.deps.index];
        let uploads = self.deps.uploads.as_ref();
        uploads.is_some_and(|uploads| uploads.put(queues, id, permit, name, peer))
    }

    fn store(&mut self, permit: &UploadPermit, bytes: &[u8], last: bool) -> BlockAccepted {
        let uploads = self.deps.uploads.as_ref();
        uploads.map_or(BlockAccepted::No, |uploads| uploads.store(permit, bytes, last))
    }
}

impl<N: Net> KernelOffload for WorkerHost<'_, N> {
    fn offload(&mut self, offer: &OffloadRequest<'_>) -> OffloadAnswer {
        self.net.offload().map_or(OffloadAnswer::Never, |offload| offload.offload(offer))
    }

    fn offload_progress(&mut self, id: Id) -> Option<OffloadProgress> {
        self.net.offload()?.offload_progress(id)
    }

    fn reclaim(&mut self, id: Id) -> Option<OffloadProgress> {
        self.net.offload()?.reclaim(id)
    }

    fn arrived(&mut self, arrived: bool) {
        if let Some(offload) = self.net.offload() {
            offload.arrived(arrived);
        }
    }
}

impl<N: Net> Events for WorkerHost<'_, N> {
    fn file_requested(&mut self, mac: Mac) {
        // The first worker gets the copies of all broadcasts, so it handles all DISCOVERs and must know which
        // machines asked for a file.
        if self.deps.index != 0 {
            self.deps.queues[0].file_requested(mac);
        }
    }

    fn record(&mut self, event: Event) {
        *self.lost += u64::from(self.deps.fleet.record(event).is_err());
    }
}
