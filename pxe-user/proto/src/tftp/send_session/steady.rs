//! The steady state, in which somebody else may carry a transfer on: see `pxe_common::steady`.

use super::{Block, Phase, SendSession, Timestamp, seconds};

/// What one must know to carry a transfer on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteadyState {
    /// Every block up to this one has been sent, and none after it.
    pub sent: Block,
    /// The file's last block.
    pub last: Block,
    /// Blocks per window.
    pub windowsize: u16,
}

impl SendSession {
    /// The transfer's state, if an ACK of the last block that was sent is all that can be expected next.
    ///
    /// Never before the client has acknowledged something: nobody else shall send to an address that may be forged.
    pub fn steady(&self) -> Option<SteadyState> {
        let whole_window = self.next == self.window_end && self.highest + 1 == self.next;
        let steady = self.phase == Phase::Sending
            && self.touched
            && !self.repeated
            && whole_window
            && self.highest < self.last();
        steady.then(|| SteadyState {
            sent: self.highest,
            last: self.last(),
            windowsize: self.negotiated.windowsize,
        })
    }

    /// Somebody else has carried the transfer on: it answered ACK after ACK, the last one at `heard`, and has sent
    /// every block up to `sent`. Returns how many blocks these were.
    pub fn carried(&mut self, sent: Block, heard: Timestamp) -> u64 {
        let fresh = sent.0.min(self.last().0).saturating_sub(self.highest.0);
        if fresh == 0 {
            return 0;
        }
        let windowsize = u64::from(self.negotiated.windowsize);
        // Each window but the last has been acknowledged to its end.
        self.first = self.highest + windowsize * (fresh.div_ceil(windowsize) - 1) + 1;
        self.highest = self.highest + fresh;
        self.next = self.highest + 1;
        self.window_end = self.next;
        let heard = heard.max(self.heard);
        self.progress(heard);
        self.sent = heard;
        self.deadline = heard + seconds(self.rto);
        fresh
    }

    /// The last block that the client has acknowledged.
    pub fn acknowledged(&self) -> Block {
        Block(self.first.0 - 1)
    }

    /// The last block that was sent.
    pub fn highest(&self) -> Block {
        self.highest
    }
}
