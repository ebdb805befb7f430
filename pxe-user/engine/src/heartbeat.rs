//! Detects threads of the daemon that hang. Each thread calls [`Heartbeat::beat`] in every turn of its loop,
//! at least every [`BEAT_EVERY`]. The supervisor asks [`Heartbeats::hanging`]. A beat is one store, without a
//! lock or a system call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pxe_proto::time::Timestamp;

/// Longest sleep of a thread's loop.
pub const BEAT_EVERY: Duration = Duration::from_secs(5);
/// A thread hangs if its last beat is this old.
const HANGS_AFTER: Duration = Duration::from_secs(20);

/// What a thread may block on while it works. It decides what helps if the thread hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// The thread blocks on nothing outside the daemon. If it hangs, only a restart helps.
    Never,
    /// The thread blocks on a disk or a file server. If that hangs, a restart does not help: the new process
    /// would block too, and could no longer serve the files that are in memory now.
    ForDisks,
}

/// The heartbeat of one thread. Clones share the same time.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// Records that the thread is alive at `now`.
    pub fn beat(&self, now: Timestamp) {
        self.0.store(now.as_micros(), Ordering::Relaxed);
    }

    fn last(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// The heartbeats of all threads. Clones share the same list.
#[derive(Clone, Debug, Default)]
pub struct Heartbeats(Arc<Mutex<Vec<(String, Waits, Heartbeat)>>>);

/// A thread that hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HungThread {
    /// The thread's name.
    pub thread: String,
    /// Time since the thread's last beat.
    pub silent: Duration,
    /// What the thread may block on.
    pub waits: Waits,
}

impl Heartbeats {
    /// Adds a thread, with a first beat at `now`. The thread keeps the returned [`Heartbeat`].
    pub fn add(&self, thread: impl Into<String>, waits: Waits, now: Timestamp) -> Heartbeat {
        let heartbeat = Heartbeat::default();
        heartbeat.beat(now);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((thread.into(), waits, heartbeat.clone()));
        heartbeat
    }

    /// Returns the threads that hang at `now`.
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

/// Whether the daemon may report to the service manager's watchdog that it is well: no thread hangs, except
/// on a disk.
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
