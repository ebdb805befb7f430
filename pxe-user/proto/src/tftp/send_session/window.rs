//! The window of a transfer: which blocks are acknowledged, on their way, and still to be sent.

use super::Block;

/// Invariant: `first <= next <= end`, and `next <= highest + 1`. Only between `acknowledge` and the following
/// `open` or `slide` may `first` be larger than `next`.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// The first block that is not acknowledged.
    first: Block,
    /// The block to send next. The blocks from `first` to the one before it are on their way.
    next: Block,
    /// The end of the window, exclusive.
    end: Block,
    /// The highest block that was ever sent; 0 if none.
    highest: Block,
}

impl Window {
    /// Creates the window of a new transfer: no block was sent.
    pub(super) fn new() -> Self {
        Self { first: Block(1), next: Block(1), end: Block(1), highest: Block(0) }
    }

    /// Creates the window of a resumed transfer: another process has sent the blocks up to `sent`, and those
    /// up to `acknowledged` have arrived.
    pub(super) fn resumed(acknowledged: Block, sent: Block) -> Self {
        let first = acknowledged + 1;
        Self { first, next: first, end: first, highest: sent }
    }

    /// Moves the window of `len` blocks behind the acknowledged blocks. Returns whether it starts with a
    /// block that was sent before.
    pub(super) fn open(&mut self, len: u16, last: Block) -> bool {
        self.next = self.first;
        self.end = Block((self.first.0 + u64::from(len)).min(last.0 + 1));
        self.first <= self.highest
    }

    /// Like [`Self::open`], but keeps the position: only blocks that were not sent since the last `open`
    /// remain to be sent.
    pub(super) fn slide(&mut self, len: u16, last: Block) {
        let next = self.next.max(self.first);
        self.open(len, last);
        self.next = next;
    }

    /// Drops the blocks that were not sent yet for lack of room.
    pub(super) fn close(&mut self) {
        self.end = self.next;
    }

    /// Records that every block up to this one is acknowledged.
    pub(super) fn acknowledge(&mut self, block: Block) {
        self.first = block + 1;
    }

    /// Records that the kernel has sent `fresh` more blocks. It sends a window when the previous one is
    /// acknowledged to its end, so only the last window is on its way.
    pub(super) fn advance(&mut self, fresh: u64, len: u16) {
        let len = u64::from(len);
        self.first = self.highest + len * (fresh.div_ceil(len) - 1) + 1;
        self.highest = self.highest + fresh;
        self.next = self.highest + 1;
        self.end = self.next;
    }

    /// The blocks to send now: the first one, and how many.
    pub(super) fn unsent(&self) -> (Block, u64) {
        (self.next, self.end.0.saturating_sub(self.next.0))
    }

    /// Records that the first `blocks` blocks of [`Self::unsent`] were sent. Returns how many of them had
    /// been sent before.
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
