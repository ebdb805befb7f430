//! A queue of lines that wait for the daemon. If the daemon is away for long, the oldest lines are dropped, and the
//! number is logged.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Bytes that may wait: hours of memtest86+'s regular log lines from a rack of machines.
pub(super) const BYTES_MAX: usize = 16 << 20;
/// Bytes that a queued line costs besides its text.
const OVERHEAD: usize = 64;

/// The queue. Sources add lines, and `post` sends them.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    inner: Mutex<Inner>,
    pub(super) news: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    lines: VecDeque<(Arc<str>, String)>,
    bytes: usize,
    dropped: u64,
    nameless: u64,
    closed: bool,
}

/// Lines of one machine, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) who: Arc<str>,
    pub(super) lines: Vec<String>,
}

impl Buffer {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, and drops the oldest lines if the queue is full.
    pub(super) fn push(&self, who: Arc<str>, line: &str) {
        let mut inner = self.inner();
        inner.bytes += line.len() + OVERHEAD;
        inner.lines.push_back((who, line.to_owned()));
        while inner.bytes > BYTES_MAX
            && let Some((_, oldest)) = inner.lines.pop_front()
        {
            inner.bytes -= oldest.len() + OVERHEAD;
            inner.dropped += 1;
        }
        drop(inner);
        self.news.notify_one();
    }

    /// Counts a line without a machine's name. Returns true for the first one.
    pub(super) fn nameless(&self) -> bool {
        let mut inner = self.inner();
        inner.nameless += 1;
        inner.nameless == 1
    }

    /// Removes and returns lines of the machine whose line is the oldest, up to about `most` bytes and at least one
    /// line.
    pub(super) fn take(&self, most: usize) -> Option<Batch> {
        let mut inner = self.inner();
        let who = Arc::clone(&inner.lines.front()?.0);
        let (mut lines, mut others, mut bytes) = (Vec::new(), VecDeque::new(), 0);
        while let Some((whose, line)) = inner.lines.pop_front() {
            if whose == who && (lines.is_empty() || bytes + line.len() < most) {
                bytes += line.len() + 1;
                inner.bytes -= line.len() + OVERHEAD;
                lines.push(line);
            } else {
                // The first line that does not fit ends the batch, so that the machine's lines stay in order.
                let full = whose == who;
                others.push_back((whose, line));
                if full {
                    break;
                }
            }
        }
        others.append(&mut inner.lines);
        inner.lines = others;
        Some(Batch { who, lines })
    }

    /// Puts lines that could not be sent back to the front of the queue.
    pub(super) fn give_back(&self, batch: Batch) {
        let mut inner = self.inner();
        for line in batch.lines.into_iter().rev() {
            inner.bytes += line.len() + OVERHEAD;
            inner.lines.push_front((Arc::clone(&batch.who), line));
        }
    }

    /// The number of lines dropped since the previous call.
    pub(super) fn dropped(&self) -> u64 {
        std::mem::take(&mut self.inner().dropped)
    }

    /// Called when the source has ended: no more lines will be added.
    pub(super) fn close(&self) {
        self.inner().closed = true;
        self.news.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inner().closed
    }

    /// The number of lines that wait.
    pub(super) fn left(&self) -> usize {
        self.inner().lines.len()
    }
}
