//! How far transfers are, told now and then: a look at the table twice a second, nothing per packet.

use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;

use super::record::peer;
use super::{Host, Responder};
use pxe_fleet::event::Event;
use pxe_proto::tftp::table::Id;
use pxe_proto::time::Timestamp;

/// Shorter transfers are told of at their end only.
const OLD: Duration = Duration::from_secs(1);
/// Most transfers that are told of at a time; the others have their turn next time.
const AT_ONCE: usize = 256;

impl Responder {
    /// Tells how far transfers are that take longer than a moment. To be called once or twice a second.
    pub fn tell_progress(&mut self, now: Timestamp, host: &mut impl Host) {
        let ids: ArrayVec<Id, AT_ONCE> = self.table.under_way(self.told_up_to).take(AT_ONCE).collect();
        self.told_up_to = match ids.last() {
            Some(last) if ids.is_full() => last.slot() + 1,
            _ => 0,
        };
        for id in ids {
            let Some(entry) = self.table.get(id) else { continue };
            let (Some(transfer), Some(image)) = (entry.transfer(), &entry.context.image) else { continue };
            if now.since(transfer.started()) < OLD {
                continue;
            }
            // The kernel may be further than we know.
            let by_kernel =
                if entry.context.offload_state.is_away() { host.offload_progress(id) } else { None };
            let block = by_kernel.map_or(transfer.acknowledged(), |carried| carried.sent);
            let all_sent = by_kernel.map_or(transfer.highest(), |carried| carried.sent) >= transfer.last();
            let bytes = (block + 1).offset(transfer.negotiated().blksize).min(transfer.size());
            host.record(Event::Loading { peer: peer(entry), image: Arc::clone(image), bytes, all_sent });
        }
    }
}
