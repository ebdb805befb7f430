//! How far transfers are, reported twice a second: nothing per packet.

use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;

use super::super::{Events, KernelOffload};
use super::context::{Context, peer};
use pxe_fleet::event::Event;
use pxe_proto::tftp::table::{Id, Table};
use pxe_proto::time::Timestamp;

/// Shorter transfers are reported at their end only.
const AGE_MIN: Duration = Duration::from_secs(1);
/// Most transfers in one report. The others have their turn in the next one.
const AT_ONCE: usize = 256;

/// Walks over the transfers, some of them at each report.
#[derive(Debug, Default)]
pub(super) struct ProgressReporter {
    next_slot: u32,
}

impl ProgressReporter {
    pub(super) fn report(
        &mut self,
        now: Timestamp,
        table: &Table<Context>,
        host: &mut (impl KernelOffload + Events),
    ) {
        let ids: ArrayVec<Id, AT_ONCE> = table.under_way(self.next_slot).take(AT_ONCE).collect();
        self.next_slot = match ids.last() {
            Some(last) if ids.is_full() => last.slot() + 1,
            _ => 0,
        };
        for id in ids {
            let Some(entry) = table.get(id) else { continue };
            let (Some(transfer), Some(image)) = (entry.transfer(), &entry.context.image) else { continue };
            if now.since(transfer.started()) < AGE_MIN {
                continue;
            }
            // The kernel may be further than the state machine knows.
            let is_in_kernel = entry.context.offload.is_in_kernel();
            let by_kernel = if is_in_kernel { host.offload_progress(id) } else { None };
            let block = by_kernel.map_or(transfer.acknowledged(), |progress| progress.sent);
            let all_sent = by_kernel.map_or(transfer.highest(), |progress| progress.sent) >= transfer.last();
            let bytes = (block + 1).offset(transfer.negotiated().blksize).min(transfer.size());
            host.record(Event::Loading { peer: peer(entry), image: Arc::clone(image), bytes, all_sent });
        }
    }
}
