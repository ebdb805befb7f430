//! A sleeping thread's door: others leave something before it, then ring. `tests/models` tries all ways that this can go.

use super::event_fd::EventFd;
use crate::sync::atomic::{AtomicBool, Ordering};

/// The door.
#[derive(Debug)]
pub struct Waker {
    event_fd: EventFd,
    /// Somebody has rung, or is about to, since the thread has last looked: one ring, one system call, is enough for all.
    woken: AtomicBool,
    stopped: AtomicBool,
}

impl Waker {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { event_fd: EventFd::new()?, woken: AtomicBool::new(false), stopped: AtomicBool::new(false) })
    }

    /// Wakes the thread: what was left before this is there for it when it is awake.
    pub(super) fn wake(&self) {
        // Release: who does not ring relies on the thread to look after another's ring. It does so by this exchange.
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.event_fd.wake();
        }
    }

    /// Rings when somebody has.
    pub fn event_fd(&self) -> &EventFd {
        &self.event_fd
    }

    /// Heard. To be called before the thread looks what was left.
    pub fn clear(&self) {
        // In this order: a ring between the two would else be silenced, and nobody would ring again.
        self.event_fd.clear();
        self.woken.swap(false, Ordering::AcqRel);
    }

    /// Tells the thread to end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether it was told so.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}
