//! Transfers that somebody else carries on: the kernel, while nothing unusual happens.
//!
//! A transfer is given away only in its steady state, and taken back before anything else happens to it: a packet that
//! the kernel did not answer, a time-out, a new request, the end. So the state machine always sees all of it.

use super::record::count_data;
use super::{Context, Host, OffloadAnswer, OffloadRequest, Responder};
use crate::counters::{Counter, Counters};
use pxe_proto::tftp::Block;
use pxe_proto::tftp::send_session::SendSession;
use pxe_proto::tftp::table::{Entry, Id};
use pxe_proto::time::Timestamp;

/// Who sends the blocks of a transfer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OffloadState {
    state: State,
    /// The last block that was sent from here. The kernel counts blocks in 32 bits, so all beyond are sent from here.
    own: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// We do, and nobody else was asked, or has an answer yet.
    #[default]
    Unasked,
    /// We do, and it stays so.
    Ours,
    /// We do at the moment.
    TakenBack,
    /// The kernel does.
    Away,
}

impl OffloadState {
    /// Every block up to this one was sent from here.
    pub(super) fn sent_here(&mut self, block: Block) {
        self.own = self.own.max(u32::try_from(block.0).unwrap_or(u32::MAX));
    }

    /// Whether the kernel has the transfer at the moment.
    pub(super) fn is_away(&self) -> bool {
        self.state == State::Away
    }

    fn is_not_ours(&self, block: Block) -> bool {
        u32::try_from(block.0).is_ok_and(|block| block > self.own)
    }

    /// Whether blocks after the ones that we sent have arrived, if that can be told.
    fn arrived(&self, transfer: &SendSession) -> bool {
        self.is_not_ours(transfer.acknowledged())
    }
}

impl Responder {
    /// Offers a transfer, if it is in its steady state.
    pub(super) fn hand_over(&mut self, id: Id, host: &mut impl Host) {
        let Some(entry) = self.table.get_mut(id) else { return };
        let (client, port) = (entry.client, entry.port);
        let (Some(transfer), context) = entry.parts_mut() else { return };
        if context.offload_state.arrived(transfer) {
            host.arrived(true);
        }
        let state = context.offload_state.state;
        if !matches!(state, State::Unasked | State::TakenBack) || context.queued {
            return;
        }
        let (Some(steady), Some(image)) = (transfer.steady(), &context.image) else { return };
        let (blksize, again) = (transfer.negotiated().blksize, state == State::TakenBack);
        let given = host.offload(&OffloadRequest { id, client, port, image, blksize, steady, again });
        context.offload_state.state = match given {
            OffloadAnswer::Accepted => State::Away,
            OffloadAnswer::NotYet => state,
            OffloadAnswer::Never => State::Ours,
        };
        if given == OffloadAnswer::Accepted {
            self.counters.count(Counter::GivenToKernel);
        }
    }

    /// Takes a transfer back before something happens to it.
    pub(super) fn reclaim(&mut self, id: Id, host: &mut impl Host) {
        if let Some(entry) = self.table.get_mut(id) {
            take(id, entry, &mut self.counters, host);
        }
    }
}

fn take(id: Id, entry: &mut Entry<Context>, counters: &mut Counters, host: &mut impl Host) {
    let (Some(transfer), context) = entry.parts_mut() else { return };
    if context.offload_state.state != State::Away {
        return;
    }
    context.offload_state.state = State::TakenBack;
    if let Some(carried) = host.reclaim(id) {
        carry(transfer, carried.sent, carried.heard, counters);
    }
}

fn carry(transfer: &mut SendSession, sent: Block, heard: Timestamp, counters: &mut Counters) {
    let first = transfer.highest() + 1;
    let blocks = transfer.carried(sent, heard);
    count_data(counters, transfer, first, blocks);
    counters.add(Counter::DataByKernel, blocks);
}

/// A transfer's timer is about to ring: it may have been carried on meanwhile. If not, it is taken back.
pub(super) fn before_time_out(
    now: Timestamp,
    id: Id,
    entry: &mut Entry<Context>,
    counters: &mut Counters,
    host: &mut impl Host,
) {
    let (Some(transfer), context) = entry.parts_mut() else { return };
    if context.offload_state.state != State::Away {
        return;
    }
    if let Some(carried) = host.offload_progress(id) {
        carry(transfer, carried.sent, carried.heard, counters);
    }
    if context.offload_state.arrived(transfer) {
        host.arrived(true);
    }
    if transfer.deadline() > now {
        return;
    }
    let lost = context.offload_state.is_not_ours(transfer.highest());
    let in_windows = transfer.negotiated().windowsize > 1;
    if lost {
        host.arrived(false);
    }
    take(id, entry, counters, host);
    if lost && in_windows {
        // A burst was too much for the way or the client: from user space it goes out more slowly.
        entry.context.offload_state.state = State::Ours;
    }
}
