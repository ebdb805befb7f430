//! Transfers with blocks that found no room in the send queue.

use std::collections::VecDeque;
use std::time::Duration;

use pxe_proto::tftp::table::Id;
use pxe_proto::time::Timestamp;

/// The pause until the next attempt: a link that is down must not cost a core.
const RETRY_AFTER: Duration = Duration::from_millis(1);

/// Transfers in the order in which they found no room. A transfer is in here at most once: see `Context::queued`.
#[derive(Debug)]
pub(super) struct Backlog {
    transfers: VecDeque<Id>,
    retry_at: Timestamp,
}

impl Backlog {
    /// Room for `transfers`, allocated now.
    pub(super) fn new(transfers: usize) -> Self {
        Self { transfers: VecDeque::with_capacity(transfers), retry_at: Timestamp::default() }
    }

    pub(super) fn push(&mut self, id: Id) {
        self.transfers.push_back(id);
    }

    /// How many transfers to try now; those that find no room again wait for the next time.
    pub(super) fn due(&mut self, now: Timestamp) -> usize {
        let due = if now >= self.retry_at { self.transfers.len() } else { 0 };
        if due > 0 {
            self.retry_at = now + RETRY_AFTER;
        }
        due
    }

    pub(super) fn pop(&mut self) -> Option<Id> {
        self.transfers.pop_front()
    }

    /// When [`Self::due`] has something; `None` without transfers.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        (!self.transfers.is_empty()).then_some(self.retry_at)
    }
}
