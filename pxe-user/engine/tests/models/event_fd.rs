//! An eventfd for loom's models: a number behind a lock.

use loom::sync::{Condvar, Mutex};

#[derive(Debug)]
pub(super) struct EventFd {
    rings: Mutex<u64>,
    heard: Condvar,
}

impl EventFd {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { rings: Mutex::new(0), heard: Condvar::new() })
    }

    pub(super) fn wake(&self) {
        *self.rings.lock().unwrap() += 1;
        self.heard.notify_all();
    }

    pub(super) fn clear(&self) {
        *self.rings.lock().unwrap() = 0;
    }

    /// Waits like `poll` without a time-out. Here nothing else ends the wait, so a lost wake-up is a
    /// deadlock, which loom reports.
    pub(super) fn wait(&self) {
        let mut rings = self.rings.lock().unwrap();
        while *rings == 0 {
            rings = self.heard.wait(rings).unwrap();
        }
    }
}
