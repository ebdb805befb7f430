//! The steady state, in which the kernel may continue a transfer: see `pxe_common::steady`.

use super::{Block, Phase, Repeats, SendSession, Timestamp, seconds};

/// What the kernel must know to continue a transfer.
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
    /// Returns the state of the transfer if the next packet should be an ACK of the last block that was sent.
    ///
    /// `None` until the client has acknowledged something: the kernel must not send to an address that may be
    /// forged.
    #[inline]
    pub fn steady(&self) -> Option<SteadyState> {
        let is_steady = self.phase == Phase::Sending
            && self.repeats == Repeats::None
            && self.window.is_whole()
            && self.highest() < self.last();
        is_steady.then(|| SteadyState {
            sent: self.highest(),
            last: self.last(),
            windowsize: self.negotiated.windowsize,
        })
    }

    /// Records that the kernel has continued the transfer: it has answered the ACKs, the last one at `heard`,
    /// and has sent every block up to `sent`. Returns how many blocks it has sent.
    pub fn carried(&mut self, sent: Block, heard: Timestamp) -> u64 {
        let fresh = sent.0.min(self.last().0).saturating_sub(self.highest().0);
        if fresh == 0 {
            return 0;
        }
        self.window.advance(fresh, self.negotiated.windowsize);
        let heard = heard.max(self.heard);
        self.progress(heard);
        self.sent = heard;
        self.deadline = heard + seconds(self.rto);
        fresh
    }

    /// The last block that the client has acknowledged.
    pub fn acknowledged(&self) -> Block {
        self.window.acknowledged()
    }

    /// The last block that was sent.
    pub fn highest(&self) -> Block {
        self.window.highest()
    }
}
