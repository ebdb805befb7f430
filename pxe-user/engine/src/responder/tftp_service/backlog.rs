//! Transfers whose blocks found no room in the send queue.

use std::collections::VecDeque;
use std::time::Duration;

use pxe_proto::tftp::table::Id;
use pxe_proto::time::Timestamp;

/// Pause until the next attempt, so that a link that is down does not use a whole core.
const RETRY_AFTER: Duration = Duration::from_millis(1);

/// Transfers in the order in which they found no room. `Context::queued` ensures that a transfer is in here
/// at most once.
#[derive(Debug)]
pub(super) struct Backlog {
    transfers: VecDeque<Id>,
    retry_at: Timestamp,
}

impl Backlog {
    /// A backlog for `transfers` transfers. Its memory is allocated now.
    pub(super) fn new(transfers: usize) -> Self {
        Self { transfers: VecDeque::with_capacity(transfers), retry_at: Timestamp::default() }
    }

    pub(super) fn push(&mut self, id: Id) {
        self.transfers.push_back(id);
    }

    /// Returns how many transfers to try now. Those that find no room again wait for the next attempt.
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

    /// When [`Self::due`] returns transfers. `None` if the backlog is empty.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        (!self.transfers.is_empty()).then_some(self.retry_at)
    }
}
