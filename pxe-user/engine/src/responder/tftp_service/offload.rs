//! Transfers that the kernel continues while nothing unusual happens.
//!
//! A transfer is offered only in its steady state, and taken back before anything else happens to it: a packet that the kernel
//! did not answer, a time-out, a new request, the end. So the state machine always sees all of it.

use super::super::{KernelOffload, OffloadAnswer, OffloadRequest};
use super::context::Context;
use super::record::count_data;
use crate::counters::{Counter, Counters};
use pxe_proto::tftp::Block;
use pxe_proto::tftp::send_session::SendSession;
use pxe_proto::tftp::table::{Entry, Id};
use pxe_proto::time::Timestamp;

/// Which side sends the blocks of a transfer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OffloadState {
    owner: Owner,
    /// The last block that user space sent. The kernel counts blocks in 32 bits, so user space sends all beyond.
    own: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Owner {
    /// User space; the kernel was not asked, or has not answered yet.
    #[default]
    Unasked,
    /// User space, until the end.
    UserSpace,
    /// User space at the moment; the kernel had the transfer before.
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

    /// Whether a block that the kernel sent has arrived, if that can be told.
    fn has_arrived(&self, transfer: &SendSession) -> bool {
        self.is_by_kernel(transfer.acknowledged())
    }
}

/// Offers a transfer to the kernel, if it is in its steady state.
pub(super) fn offer(
    id: Id,
    entry: &mut Entry<Context>,
    counters: &mut Counters,
    host: &mut impl KernelOffload,
) {
    let (client, port) = (entry.client, entry.port);
    let (Some(transfer), context) = entry.parts_mut() else { return };
    if context.offload.has_arrived(transfer) {
        host.arrived(true);
    }
    let owner = context.offload.owner;
    if !matches!(owner, Owner::Unasked | Owner::Reclaimed) || context.queued {
        return;
    }
    let (Some(steady), Some(image)) = (transfer.steady(), &context.image) else { return };
    let (blksize, again) = (transfer.negotiated().blksize, owner == Owner::Reclaimed);
    let answer = host.offload(&OffloadRequest { id, client, port, image, blksize, steady, again });
    context.offload.owner = match answer {
        OffloadAnswer::Accepted => Owner::Kernel,
        OffloadAnswer::NotYet => owner,
        OffloadAnswer::Never => Owner::UserSpace,
    };
    if answer == OffloadAnswer::Accepted {
        counters.count(Counter::GivenToKernel);
    }
}

/// Takes a transfer back before something happens to it.
pub(super) fn reclaim(
    id: Id,
    entry: &mut Entry<Context>,
    counters: &mut Counters,
    host: &mut impl KernelOffload,
) {
    let (Some(transfer), context) = entry.parts_mut() else { return };
    if !context.offload.is_in_kernel() {
        return;
    }
    context.offload.owner = Owner::Reclaimed;
    if let Some(progress) = host.reclaim(id) {
        advance(transfer, progress.sent, progress.heard, counters);
    }
}

/// The state machine learns what the kernel has sent.
fn advance(transfer: &mut SendSession, sent: Block, heard: Timestamp, counters: &mut Counters) {
    let first = transfer.highest() + 1;
    let blocks = transfer.carried(sent, heard);
    count_data(counters, transfer, first, blocks);
    counters.add(Counter::DataByKernel, blocks);
}

/// The transfer's timer is due, but the kernel may have moved the transfer on since it was set. If it has not, the transfer
/// is taken back.
pub(super) fn before_time_out(
    now: Timestamp,
    id: Id,
    entry: &mut Entry<Context>,
    counters: &mut Counters,
    host: &mut impl KernelOffload,
) {
    let (Some(transfer), context) = entry.parts_mut() else { return };
    if !context.offload.is_in_kernel() {
        return;
    }
    if let Some(progress) = host.offload_progress(id) {
        advance(transfer, progress.sent, progress.heard, counters);
    }
    if context.offload.has_arrived(transfer) {
        host.arrived(true);
    }
    if transfer.deadline() > now {
        return;
    }
    let lost = context.offload.is_by_kernel(transfer.highest());
    let in_windows = transfer.negotiated().windowsize > 1;
    if lost {
        host.arrived(false);
    }
    reclaim(id, entry, counters, host);
    if lost && in_windows {
        // A burst was too much for the way or the client. User space sends it more slowly.
        entry.context.offload.owner = Owner::UserSpace;
    }
}
