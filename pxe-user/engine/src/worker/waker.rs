//! Wakes a sleeping thread: other threads put something into its queues and then call `wake`.
//! `tests/models` tries all orders of these operations.

use super::event_fd::EventFd;
use crate::sync::atomic::{AtomicBool, Ordering};

/// A thread's eventfd, with two flags: whether the thread was woken, and whether it must stop.
#[derive(Debug)]
pub struct Waker {
    event_fd: EventFd,
    /// A thread has called, or is about to call, `EventFd::wake` since the owner last called
    /// [`Waker::clear`]. One write to the eventfd, which is a system call, is enough for all of them.
    woken: AtomicBool,
    stopped: AtomicBool,
}

impl Waker {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { event_fd: EventFd::new()?, woken: AtomicBool::new(false), stopped: AtomicBool::new(false) })
    }

    /// Wakes the thread. When the thread has woken up, it sees everything that the caller wrote before this
    /// call.
    pub fn wake(&self) {
        // Release: a caller that finds `woken` set does not write to the eventfd. It relies on the thread to
        // wake up because of another caller's write and then to see what this caller wrote. The thread does
        // so through the exchange in `clear`, which acquires.
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.event_fd.wake();
        }
    }

    /// The eventfd to sleep on. It becomes readable after `wake`.
    pub fn event_fd(&self) -> &EventFd {
        &self.event_fd
    }

    /// Resets the eventfd and the flag. The thread must call this before it reads its queues.
    pub fn clear(&self) {
        // The eventfd must be cleared first. In the other order, a `wake` between the two steps would set
        // `woken` and write to the eventfd, and this thread would then clear the eventfd but not the flag.
        // After that no caller would write again.
        self.event_fd.clear();
        self.woken.swap(false, Ordering::AcqRel);
    }

    /// Asks the thread to end, and wakes it.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether [`Self::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}
