//! Transfers that the kernel continues while nothing unusual happens.
//!
//! A transfer is given to the kernel only in its steady state, and taken back before any other event is
//! applied to it: a packet that the kernel did not answer, a time-out, a new request, the end. So the state
//! machine always has the transfer's complete state.

use std::net::SocketAddrV4;
use std::sync::Arc;

use super::super::{KernelOffload, OffloadAnswer, OffloadRequest};
use crate::counters::{Counter, Counters};
use pxe_content::boot::Image;
use pxe_proto::tftp::Block;
use pxe_proto::tftp::send_session::SendSession;
use pxe_proto::tftp::table::Id;
use pxe_proto::time::Timestamp;

/// Which side sends the blocks of a transfer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OffloadState {
    owner: Owner,
    /// The last block that user space has sent, in 32 bits like the kernel's count. The kernel cannot have
    /// sent a later block than 2^32 - 1.
    own: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Owner {
    /// User space. The kernel was not asked for this transfer, or its cache does not have the file yet.
    #[default]
    Unasked,
    /// User space, until the transfer ends.
    UserSpace,
    /// User space at the moment. The kernel had the transfer before.
    Reclaimed,
    /// The kernel.
    Kernel,
}

impl OffloadState {
    /// User space has sent every block up to this one.
    pub(super) fn sent_here(&mut self, block: Block) {
        self.own = self.own.max(u32::try_from(block.0).unwrap_or(u32::MAX));
    }

    /// Whether the kernel has the transfer at the moment.
    pub(super) fn is_in_kernel(&self) -> bool {
        self.owner == Owner::Kernel
    }

    fn is_by_kernel(&self, block: Block) -> bool {
        u32::try_from(block.0).is_ok_and(|block| block > self.own)
    }

    /// Reports an arrival if the client has acknowledged a block that the kernel sent.
    pub(super) fn report_arrival(&self, session: &SendSession, host: &mut impl KernelOffload) {
        if self.is_by_kernel(session.acknowledged()) {
            host.arrived(true);
        }
    }

    /// Offers a transfer to the kernel, if the transfer is in its steady state. The kernel identifies it by
    /// its slot, the client's TID, our TID and the file.
    pub(super) fn offer(
        &mut self,
        session: &SendSession,
        (id, client, port, image): (Id, SocketAddrV4, u16, &Arc<Image>),
        counters: &mut Counters,
        host: &mut impl KernelOffload,
    ) {
        if !matches!(self.owner, Owner::Unasked | Owner::Reclaimed) {
            return;
        }
        let Some(steady) = session.steady() else { return };
        let (blksize, again) = (session.negotiated().blksize, self.owner == Owner::Reclaimed);
        match host.offload(&OffloadRequest { id, client, port, image, blksize, steady, again }) {
            OffloadAnswer::Accepted => {
                self.owner = Owner::Kernel;
                counters.count(Counter::GivenToKernel);
            }
            OffloadAnswer::NotYet => {}
            OffloadAnswer::Never => self.owner = Owner::UserSpace,
        }
    }

    /// Takes a transfer back before another event is applied to it.
    pub(super) fn reclaim(
        &mut self,
        id: Id,
        session: &mut SendSession,
        counters: &mut Counters,
        host: &mut impl KernelOffload,
    ) {
        if !self.is_in_kernel() {
            return;
        }
        self.owner = Owner::Reclaimed;
        if let Some(progress) = host.reclaim(id) {
            advance(session, progress.sent, progress.heard, counters);
        }
    }

    /// Called when the transfer's timer is due. First applies the progress that the kernel has made since the
    /// timer was set. If the timer is due even so, takes the transfer back.
    pub(super) fn before_time_out(
        &mut self,
        now: Timestamp,
        id: Id,
        session: &mut SendSession,
        counters: &mut Counters,
        host: &mut impl KernelOffload,
    ) {
        if !self.is_in_kernel() {
            return;
        }
        if let Some(progress) = host.offload_progress(id) {
            advance(session, progress.sent, progress.heard, counters);
        }
        self.report_arrival(session, host);
        if session.deadline() > now {
            return;
        }
        let lost = self.is_by_kernel(session.highest());
        let in_windows = session.negotiated().windowsize > 1;
        if lost {
            host.arrived(false);
        }
        self.reclaim(id, session, counters, host);
        if lost && in_windows {
            // The network or the client lost a part of a burst. User space sends windows more slowly.
            self.owner = Owner::UserSpace;
        }
    }
}

/// Applies the blocks that the kernel has sent to the state machine.
fn advance(session: &mut SendSession, sent: Block, heard: Timestamp, counters: &mut Counters) {
    let first = session.highest() + 1;
    let blocks = session.carried(sent, heard);
    count_data(counters, session, first, blocks);
    counters.add(Counter::DataByKernel, blocks);
}

/// Counts DATA packets and their bytes, whether user space or the kernel has sent them.
pub(super) fn count_data(counters: &mut Counters, session: &SendSession, first: Block, blocks: u64) {
    let offset = |block: Block| block.offset(session.negotiated().blksize).min(session.size());
    counters.add(Counter::DataPackets, blocks);
    counters.add(Counter::DataBytes, offset(first + blocks) - offset(first));
}
