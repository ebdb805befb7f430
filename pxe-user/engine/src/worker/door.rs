//! A sleeping thread's door: others leave something before it, then ring. `tests/models` tries all ways that this can go.

use super::bell::Bell;
use crate::sync::atomic::{AtomicBool, Ordering};

/// The door.
#[derive(Debug)]
pub struct Door {
    bell: Bell,
    /// Somebody has rung, or is about to, since the thread has last looked: one ring, one system call, is enough for all.
    rung: AtomicBool,
    stopped: AtomicBool,
}

impl Door {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { bell: Bell::new()?, rung: AtomicBool::new(false), stopped: AtomicBool::new(false) })
    }

    /// Wakes the thread: what was left before this is there for it when it is awake.
    pub(super) fn ring(&self) {
        // Release: who does not ring relies on the thread to look after another's ring. It does so by this exchange.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.bell.ring();
        }
    }

    /// Rings when somebody has.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Heard. To be called before the thread looks what was left.
    pub fn quiet(&self) {
        // In this order: a ring between the two would else be silenced, and nobody would ring again.
        self.bell.quiet();
        self.rung.swap(false, Ordering::AcqRel);
    }

    /// Tells the thread to end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.ring();
    }

    /// Whether it was told so.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}
