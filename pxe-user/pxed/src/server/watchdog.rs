//! Which threads hang, for `/readyz` and for the service manager's watchdog.

use std::time::Duration;

use pxe_engine::heartbeat::{BEAT_EVERY, Heartbeats, HungThread, Waits, is_well};
use pxe_proto::time::Timestamp;

/// The supervisor's look at the other threads.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// How often the service manager wants to hear of us; it has no watchdog otherwise.
    watchdog: Option<Duration>,
    looked: Timestamp,
    told: Option<Timestamp>,
    hanging: Vec<String>,
}

impl Watchdog {
    pub(super) fn new(now: Timestamp, watchdog: Option<Duration>) -> Self {
        Self { watchdog, looked: now, told: None, hanging: Vec::new() }
    }

    /// Looks at all threads. Answers the names of those that hang, and whether the watchdog is to be told that all is well.
    pub(super) fn look(&mut self, now: Timestamp, heartbeats: &Heartbeats) -> (&[String], bool) {
        let since = now.since(self.looked);
        self.looked = now;
        // The whole process stood still: others had no chance to beat either.
        if since < BEAT_EVERY {
            self.take(heartbeats.hanging(now));
        }
        let is_due = |every: Duration| self.told.is_none_or(|told| now.since(told) >= every / 4);
        let tell = self.watchdog.is_some_and(is_due) && is_well(&heartbeats.hanging(now));
        if tell {
            self.told = Some(now);
        }
        (&self.hanging, tell)
    }

    fn take(&mut self, hanging: Vec<HungThread>) {
        for thread in hanging.iter().filter(|hanging| !self.hanging.contains(&hanging.thread)) {
            let (name, seconds) = (&thread.thread, thread.silent.as_secs());
            match thread.waits {
                Waits::Never => {
                    tracing::error!(event = "thread_hangs", thread = name, seconds, "a thread hangs");
                }
                Waits::ForDisks => tracing::error!(
                    event = "thread_hangs",
                    thread = name,
                    seconds,
                    "a thread waits for a disk or file server that does not answer: check `dmesg`"
                ),
            }
        }
        for thread in &self.hanging {
            if hanging.iter().all(|hanging| hanging.thread != *thread) {
                tracing::info!(event = "thread_goes_on", thread, "a thread works again");
            }
        }
        self.hanging = hanging.into_iter().map(|hanging| hanging.thread).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_micros(ms * 1000)
    }

    /// Two looks a second from one moment until another; how often the watchdog was told, and who hangs in the end.
    fn look(watch: &mut Watchdog, heartbeats: &Heartbeats, from: u64, to: u64) -> (usize, Vec<String>) {
        let (mut told, mut names) = (0, Vec::new());
        for now in (from..to).step_by(500) {
            let (hanging, tell) = watch.look(at(now), heartbeats);
            names = hanging.to_vec();
            told += usize::from(tell);
        }
        (told, names)
    }

    #[test]
    fn a_worker_that_hangs_is_not_told_and_a_disk_only_named() {
        let (heartbeats, mut watch) =
            (Heartbeats::default(), Watchdog::new(at(0), Some(Duration::from_secs(40))));
        let worker = heartbeats.add("worker", Waits::Never, at(0));
        let loader = heartbeats.add("loader", Waits::ForDisks, at(0));
        assert_eq!(look(&mut watch, &heartbeats, 0, 15_000), (2, vec![]));
        worker.beat(at(15_000));
        assert_eq!(look(&mut watch, &heartbeats, 15_000, 34_000), (2, vec!["loader".to_owned()]));
        loader.beat(at(34_000));
        assert_eq!(look(&mut watch, &heartbeats, 36_000, 54_000), (0, vec!["worker".to_owned()]));
        worker.beat(at(54_000));
        assert_eq!(look(&mut watch, &heartbeats, 54_000, 55_000), (1, vec!["loader".to_owned()]));
    }

    /// A process that was stopped for a minute: nobody could beat, and nobody hangs.
    #[test]
    fn a_pause_of_the_whole_process_is_nobodys_fault() {
        let (heartbeats, mut watch) = (Heartbeats::default(), Watchdog::new(at(0), None));
        let worker = heartbeats.add("worker", Waits::Never, at(0));
        assert_eq!(watch.look(at(60_000), &heartbeats), (&[][..], false));
        worker.beat(at(60_001));
        assert_eq!(watch.look(at(60_500), &heartbeats), (&[][..], false));
    }
}
