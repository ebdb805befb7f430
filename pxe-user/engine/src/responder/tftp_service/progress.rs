//! Reports the progress of transfers twice a second, so that single packets cause no reports.

use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;

use super::super::{Events, KernelOffload};
use super::context::{Context, peer};
use pxe_fleet::event::Event;
use pxe_proto::tftp::table::{Id, Table};
use pxe_proto::time::Timestamp;

/// Transfers are reported only when they are this old. A shorter transfer is reported at its end only.
const AGE_MIN: Duration = Duration::from_secs(1);
/// Most transfers in one report. The next report continues with the others.
const AT_ONCE: usize = 256;

/// Goes through all transfers, a part of them in each report.
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
            // The kernel may have sent more than the state machine knows.
            let is_in_kernel = entry.context.offload.is_in_kernel();
            let by_kernel = if is_in_kernel { host.offload_progress(id) } else { None };
            let block = by_kernel.map_or(transfer.acknowledged(), |progress| progress.sent);
            let all_sent = by_kernel.map_or(transfer.highest(), |progress| progress.sent) >= transfer.last();
            let bytes = (block + 1).offset(transfer.negotiated().blksize).min(transfer.size());
            host.record(Event::Loading { peer: peer(entry), image: Arc::clone(image), bytes, all_sent });
        }
    }
}
