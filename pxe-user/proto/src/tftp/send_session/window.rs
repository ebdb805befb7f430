//! The window of a transfer: which blocks are acknowledged, on their way, and still to be sent.

use super::Block;

/// `first <= next <= end`, and `next <= highest + 1` unless nothing was sent.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// The first block that is not acknowledged.
    first: Block,
    /// The first block that is to be sent next: the blocks from `first` up to here are on their way.
    next: Block,
    /// The end of the window, exclusive.
    end: Block,
    /// The highest block that was ever sent.
    highest: Block,
}

impl Window {
    /// Nothing was sent yet.
    pub(super) fn new() -> Self {
        Self { first: Block(1), next: Block(1), end: Block(1), highest: Block(0) }
    }

    /// Blocks up to `acknowledged` have arrived, and blocks up to `sent` were sent, by another process.
    pub(super) fn resumed(acknowledged: Block, sent: Block) -> Self {
        let first = acknowledged + 1;
        Self { first, next: first, end: first, highest: sent }
    }

    /// Puts the window of `len` blocks behind the acknowledged ones. Returns whether it holds blocks that were sent before.
    pub(super) fn open(&mut self, len: u16, last: Block) -> bool {
        self.next = self.first;
        self.end = Block((self.first.0 + u64::from(len)).min(last.0 + 1));
        self.first <= self.highest
    }

    /// The same, but sends only blocks that were not sent since the window was opened before.
    pub(super) fn slide(&mut self, len: u16, last: Block) {
        let next = self.next.max(self.first);
        self.open(len, last);
        self.next = next;
    }

    /// Gives up what found no room until now.
    pub(super) fn close(&mut self) {
        self.end = self.next;
    }

    /// Every block up to this one is acknowledged.
    pub(super) fn acknowledge(&mut self, block: Block) {
        self.first = block + 1;
    }

    /// The kernel has sent `fresh` more blocks, window after window. It sends a window when the one before is acknowledged to
    /// its end, so only the last window is on its way.
    pub(super) fn advance(&mut self, fresh: u64, len: u16) {
        let len = u64::from(len);
        self.first = self.highest + len * (fresh.div_ceil(len) - 1) + 1;
        self.highest = self.highest + fresh;
        self.next = self.highest + 1;
        self.end = self.next;
    }

    /// The blocks that are to be sent now: the first one, and how many.
    pub(super) fn unsent(&self) -> (Block, u64) {
        (self.next, self.end.0.saturating_sub(self.next.0))
    }

    /// `blocks` of [`Self::unsent`] have been sent. Returns how many of them were sent before.
    pub(super) fn sent(&mut self, blocks: u64) -> u64 {
        let end = Block((self.next.0 + blocks).min(self.end.0));
        let fresh = end.0.saturating_sub(self.next.0.max(self.highest.0 + 1));
        let repeated = end.0 - self.next.0 - fresh;
        self.next = end;
        self.highest = self.highest.max(Block(end.0 - 1));
        repeated
    }

    /// Whether the whole window is on its way, and no block behind it was ever sent.
    pub(super) fn is_whole(&self) -> bool {
        self.next == self.end && self.highest + 1 == self.next
    }

    /// Whether an ACK of this block acknowledges the window to its end.
    pub(super) fn ends_at(&self, block: Block) -> bool {
        block + 1 >= self.end
    }

    pub(super) fn acknowledged(&self) -> Block {
        Block(self.first.0 - 1)
    }

    pub(super) fn first(&self) -> Block {
        self.first
    }

    pub(super) fn highest(&self) -> Block {
        self.highest
    }
}
