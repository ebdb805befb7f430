//! Counts and reports the ends of transfers.

use std::sync::Arc;

use super::super::Events;
use super::context::{Context, peer};
use crate::counters::{Counter, Counters};
use pxe_fleet::event::Event;
use pxe_proto::tftp::send_session::TransferOutcome;
use pxe_proto::tftp::table::Entry;
use pxe_proto::time::Timestamp;

/// Counts the end of a transfer. Reports the end of a transfer to a client to the fleet.
pub(super) fn end(
    counters: &mut Counters,
    entry: &Entry<Context>,
    outcome: TransferOutcome,
    now: Timestamp,
    host: &mut impl Events,
) {
    if entry.context.upload.is_some() {
        // `UploadWriter` reports the files that it stores to the fleet itself.
        return counters.count(Counter::of_upload(outcome));
    }
    counters.count(outcome);
    let (Some(transfer), Some(image)) = (entry.transfer(), &entry.context.image) else { return };
    counters.add(Counter::DataRepeated, transfer.repeated_blocks());
    host.record(Event::Fetched {
        peer: peer(entry),
        image: Arc::clone(image),
        outcome,
        bytes: transfer.bytes(outcome),
        took: now.since(transfer.started()),
        retransmits: transfer.repeated_blocks(),
    });
}
