//! Which image to ask for next. Pure: `now` is the time since any start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The pause after a first failure. It doubles with each further one.
pub const RETRY_FIRST: Duration = Duration::from_secs(5);
/// The longest pause after failures.
pub const RETRY_MAX: Duration = Duration::from_secs(300);
/// The longest wait of the caller. It looks again after that.
const WAIT_MAX: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When to ask. `None`: the image is complete and never changes.
    due: Option<Duration>,
    failures: u32,
}

/// When each image is asked for.
#[derive(Clone, Debug, Default)]
pub struct Schedule(BTreeMap<Arc<str>, Entry>);

impl Schedule {
    /// Asks for this image at once.
    pub fn ask(&mut self, image: Arc<str>, now: Duration) {
        self.0.insert(image, Entry { due: Some(now), failures: 0 });
    }

    /// Keeps only images that `is_wanted` names.
    pub fn retain(&mut self, is_wanted: impl Fn(&str) -> bool) {
        self.0.retain(|image, _| is_wanted(image));
    }

    /// The image that has been due for the longest time.
    #[must_use]
    pub fn due(&self, now: Duration) -> Option<Arc<str>> {
        let due = self.0.iter().filter_map(|(image, entry)| Some((entry.due?, image)));
        due.filter(|(due, _)| *due <= now).min().map(|(_, image)| Arc::clone(image))
    }

    /// How long nothing is due.
    #[must_use]
    pub fn pause(&self, now: Duration) -> Duration {
        let next = self.0.values().filter_map(|entry| entry.due).min();
        next.map_or(WAIT_MAX, |due| due.saturating_sub(now).min(WAIT_MAX))
    }

    /// The image is complete. It is asked for again after `again`, or never.
    pub fn succeeded(&mut self, image: &str, now: Duration, again: Option<Duration>) {
        if let Some(entry) = self.0.get_mut(image) {
            *entry = Entry { due: again.map(|again| now + again), failures: 0 };
        }
    }

    /// The image could not be fetched.
    pub fn failed(&mut self, image: &str, now: Duration) {
        if let Some(entry) = self.0.get_mut(image) {
            let pause = RETRY_FIRST.saturating_mul(1 << entry.failures.min(16)).min(RETRY_MAX);
            *entry = Entry { due: Some(now + pause), failures: entry.failures.saturating_add(1) };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_failing_source_is_asked_less_and_less_often_and_again_at_once_after_a_change() {
        let mut schedule = Schedule::default();
        schedule.ask("a".into(), s(0));
        let (mut now, mut pauses) = (s(0), Vec::new());
        for _ in 0..9 {
            assert_eq!(schedule.due(now).as_deref(), Some("a"));
            schedule.failed("a", now);
            assert_eq!(schedule.due(now), None);
            pauses.push(schedule.pause(now).as_secs());
            now += schedule.pause(now);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        schedule.succeeded("a", now, Some(s(600)));
        assert_eq!(schedule.pause(now), s(600));
        schedule.failed("a", now + s(600));
        assert_eq!(schedule.pause(now + s(600)), RETRY_FIRST, "a success ends the back-off");
        schedule.ask("a".into(), now);
        assert!(schedule.due(now).is_some());
    }

    #[test]
    fn a_pinned_image_is_never_asked_for_again() {
        let mut schedule = Schedule::default();
        schedule.ask("a".into(), s(0));
        schedule.succeeded("a", s(0), None);
        assert_eq!((schedule.due(s(1 << 40)), schedule.pause(s(0))), (None, WAIT_MAX));
        schedule.retain(|_| false);
        schedule.failed("a", s(0));
        assert_eq!(schedule.due(s(1 << 40)), None, "an image that is gone stays away");
    }

    proptest! {
        /// Whatever fails, each image is asked for at least every [`RETRY_MAX`], and none starves.
        #[test]
        fn no_image_starves(outcomes in proptest::collection::vec(any::<bool>(), 1..200)) {
            let mut schedule = Schedule::default();
            let images = ["a", "b", "c"];
            images.iter().for_each(|image| schedule.ask((*image).into(), s(0)));
            let (mut now, mut last) = (s(0), [s(0); 3]);
            for is_good in outcomes {
                now += schedule.pause(now);
                let image = schedule.due(now).unwrap();
                let at = images.iter().position(|known| **known == *image).unwrap();
                prop_assert!(now - last[at] <= RETRY_MAX);
                last[at] = now;
                if is_good { schedule.succeeded(&image, now, Some(s(60))) } else { schedule.failed(&image, now) }
            }
        }
    }
}
