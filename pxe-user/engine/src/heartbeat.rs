//! Signs of life of the daemon's threads. Each thread beats at every turn of its loop, at least every [`BEAT_EVERY`]; the
//! supervisor looks who has stopped. A beat is one store, without a lock or a system call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pxe_proto::time::Timestamp;

/// The longest that a thread's loop may sleep.
pub const BEAT_EVERY: Duration = Duration::from_secs(5);
/// A thread that has not beaten for so long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(20);

/// What a thread waits for beside its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// For nothing that can hang: if it does not go on, only a restart helps.
    Never,
    /// For a disk or a file server. If that hangs, a restart would wait for it as well, and what is in memory could not be
    /// served any more.
    ForDisks,
}

/// One thread's. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// The thread lives.
    pub fn beat(&self, now: Timestamp) {
        self.0.store(now.as_micros(), Ordering::Relaxed);
    }

    fn last(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// All threads'. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Heartbeats(Arc<Mutex<Vec<(String, Waits, Heartbeat)>>>);

/// A thread that hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HungThread {
    /// Its name.
    pub thread: String,
    /// For how long it has not beaten.
    pub silent: Duration,
    /// What it may wait for.
    pub waits: Waits,
}

impl Heartbeats {
    /// A thread begins.
    pub fn add(&self, thread: impl Into<String>, waits: Waits, now: Timestamp) -> Heartbeat {
        let heartbeat = Heartbeat::default();
        heartbeat.beat(now);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((thread.into(), waits, heartbeat.clone()));
        heartbeat
    }

    /// The threads that hang.
    #[must_use]
    pub fn hanging(&self, now: Timestamp) -> Vec<HungThread> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let silent =
            all.iter().map(|(thread, waits, heartbeat)| (thread, waits, now.since(heartbeat.last())));
        silent
            .filter(|(.., silent)| *silent >= HANGS_AFTER)
            .map(|(thread, waits, silent)| HungThread { thread: thread.clone(), silent, waits: *waits })
            .collect()
    }
}

/// Whether the service manager's watchdog may be told that all is well.
#[must_use]
pub fn is_well(hanging: &[HungThread]) -> bool {
    hanging.iter().all(|hanging| hanging.waits == Waits::ForDisks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_stops_is_named_and_only_a_disk_is_waited_for() {
        let at = |seconds: u64| Timestamp::from_micros(seconds * 1_000_000);
        let heartbeats = Heartbeats::default();
        let worker = heartbeats.add("worker", Waits::Never, at(0));
        let loader = heartbeats.add("loader", Waits::ForDisks, at(0));
        let names = |now| -> Vec<String> {
            heartbeats.hanging(now).into_iter().map(|hanging| hanging.thread).collect()
        };
        assert_eq!(names(at(19)), [""; 0]);
        worker.beat(at(19));
        assert_eq!(names(at(20)), ["loader"]);
        assert!(is_well(&heartbeats.hanging(at(20))));
        loader.beat(at(30));
        assert_eq!(names(at(39)), ["worker"]);
        assert!(!is_well(&heartbeats.hanging(at(39))));
    }
}
