//! Which threads hang, for `/readyz` and for the service manager's watchdog.

use std::time::Duration;

use pxe_engine::pulse::{BEAT_EVERY, Hanging, Pulses, Waits, is_well};
use pxe_proto::time::Timestamp;

/// The supervisor's look at the other threads.
#[derive(Debug)]
pub(super) struct Watch {
    /// How often the service manager wants to hear of us; it has no watchdog otherwise.
    watchdog: Option<Duration>,
    looked: Timestamp,
    told: Option<Timestamp>,
    hanging: Vec<String>,
}

impl Watch {
    pub(super) fn new(now: Timestamp, watchdog: Option<Duration>) -> Self {
        Self { watchdog, looked: now, told: None, hanging: Vec::new() }
    }

    /// Looks at all threads. Answers the names of those that hang, and whether the watchdog is to be told that all is well.
    pub(super) fn look(&mut self, now: Timestamp, pulses: &Pulses) -> (&[String], bool) {
        let since = now.since(self.looked);
        self.looked = now;
        // The whole process stood still: others had no chance to beat either.
        if since < BEAT_EVERY {
            self.take(pulses.hanging(now));
        }
        let is_due = |every: Duration| self.told.is_none_or(|told| now.since(told) >= every / 4);
        let tell = self.watchdog.is_some_and(is_due) && is_well(&pulses.hanging(now));
        if tell {
            self.told = Some(now);
        }
        (&self.hanging, tell)
    }

    fn take(&mut self, hanging: Vec<Hanging>) {
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
    fn look(watch: &mut Watch, pulses: &Pulses, from: u64, to: u64) -> (usize, Vec<String>) {
        let (mut told, mut names) = (0, Vec::new());
        for now in (from..to).step_by(500) {
            let (hanging, tell) = watch.look(at(now), pulses);
            names = hanging.to_vec();
            told += usize::from(tell);
        }
        (told, names)
    }

    #[test]
    fn a_worker_that_hangs_is_not_told_and_a_disk_only_named() {
        let (pulses, mut watch) = (Pulses::default(), Watch::new(at(0), Some(Duration::from_secs(40))));
        let worker = pulses.add("worker", Waits::Never, at(0));
        let loader = pulses.add("loader", Waits::ForDisks, at(0));
        assert_eq!(look(&mut watch, &pulses, 0, 15_000), (2, vec![]));
        worker.beat(at(15_000));
        assert_eq!(look(&mut watch, &pulses, 15_000, 34_000), (2, vec!["loader".to_owned()]));
        loader.beat(at(34_000));
        assert_eq!(look(&mut watch, &pulses, 36_000, 54_000), (0, vec!["worker".to_owned()]));
        worker.beat(at(54_000));
        assert_eq!(look(&mut watch, &pulses, 54_000, 55_000), (1, vec!["loader".to_owned()]));
    }

    /// A process that was stopped for a minute: nobody could beat, and nobody hangs.
    #[test]
    fn a_pause_of_the_whole_process_is_nobodys_fault() {
        let (pulses, mut watch) = (Pulses::default(), Watch::new(at(0), None));
        let worker = pulses.add("worker", Waits::Never, at(0));
        assert_eq!(watch.look(at(60_000), &pulses), (&[][..], false));
        worker.beat(at(60_001));
        assert_eq!(watch.look(at(60_500), &pulses), (&[][..], false));
    }
}
