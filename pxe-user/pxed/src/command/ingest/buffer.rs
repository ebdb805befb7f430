//! Lines that wait for the daemon. When it is away for long, the oldest give way, and that is said.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Bytes that may wait: hours of a rack's ticks.
pub(super) const BYTES_MAX: usize = 16 << 20;
/// What a line costs besides its bytes.
const OVERHEAD: usize = 64;

/// The lines.
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

    /// Adds a line.
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

    /// A line came that is nobody's. True for the first.
    pub(super) fn nameless(&self) -> bool {
        let mut inner = self.inner();
        inner.nameless += 1;
        inner.nameless == 1
    }

    /// Takes the lines of the machine whose turn it is, so many bytes at most.
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
                // Once a line has to stay, all behind it stay, too.
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

    /// Puts lines back in front that could not be sent.
    pub(super) fn give_back(&self, batch: Batch) {
        let mut inner = self.inner();
        for line in batch.lines.into_iter().rev() {
            inner.bytes += line.len() + OVERHEAD;
            inner.lines.push_front((Arc::clone(&batch.who), line));
        }
    }

    /// Lines that gave way since this was asked last.
    pub(super) fn dropped(&self) -> u64 {
        std::mem::take(&mut self.inner().dropped)
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        self.inner().closed = true;
        self.news.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inner().closed
    }

    /// Lines that wait.
    pub(super) fn left(&self) -> usize {
        self.inner().lines.len()
    }
}
