//! [`Differences`] between what machines saw and what the ledger says. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many whole files a machine got from a responder: by the machine's Ethernet address and the responder's name.
pub type Fetched = BTreeMap<(String, String), u64>;

/// Where the ledger differs from what machines saw, in files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// What it lacks without an excuse.
    pub missing: u64,
    /// What it lacks because the responder was killed before it had saved it.
    pub excused: u64,
    /// What it has, and no machine saw.
    pub surplus: u64,
}

/// What machines and a ledger say about files so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// What machines have loaded.
    pub seen: Fetched,
    /// What the ledger may have beyond that: a responder counts a file as loaded if only the last acknowledgement is missing, 45 s
    /// later. If it was cut off just then, the machine may have loaded the file from another one.
    pub unsure: Fetched,
}

impl Known {
    /// The `ledger` is what has been seen from now on, so that each schedule is judged for itself. What it lacks was excused,
    /// and may still come.
    pub fn settle(&mut self, ledger: Fetched) {
        for (key, has) in &ledger {
            let came = has.saturating_sub(self.seen.get(key).copied().unwrap_or(0));
            if let Some(unsure) = self.unsure.get_mut(key) {
                *unsure = unsure.saturating_sub(came);
            }
        }
        for (key, wanted) in std::mem::replace(&mut self.seen, ledger) {
            let missing = wanted.saturating_sub(self.seen.get(&key).copied().unwrap_or(0));
            *self.unsure.entry(key).or_default() += missing;
        }
        self.unsure.retain(|_, count| *count > 0);
    }
}

/// Compares what is `known`, of which these files are `excusable`, with the `ledger`.
#[must_use]
pub fn compare(known: &Known, excusable: &Fetched, ledger: &Fetched) -> Differences {
    let count = |of: &Fetched, key| of.get(key).copied().unwrap_or(0);
    let mut differences = Differences::default();
    for (key, wanted) in &known.seen {
        let missing = wanted.saturating_sub(count(ledger, key));
        let excused = missing.min(count(excusable, key));
        differences.excused += excused;
        differences.missing += missing - excused;
    }
    for (key, has) in ledger {
        differences.surplus += has.saturating_sub(count(&known.seen, key) + count(&known.unsure, key));
    }
    differences
}

/// How many rows that a server showed are not in its successor.
#[must_use]
pub fn lost(shown: &BTreeSet<String>, successor: &BTreeSet<String>) -> usize {
    shown.difference(successor).count()
}

/// By how much the times that a responder `wrote` may be off: the server's clock is read before and after the machines boot.
const CLOCK_OFF: Duration = Duration::from_secs(5);

/// Whether the first and the last time that a responder `wrote` are by a clock that is ahead of the database's by `ahead`
/// seconds. `between` is the time by the database's clock. All are in milliseconds.
#[must_use]
pub fn is_by_clock(wrote: [i64; 2], between: [i64; 2], ahead: i32) -> bool {
    let (ahead, off) = (i64::from(ahead) * 1000, CLOCK_OFF.as_millis() as i64);
    wrote[0] >= between[0] + ahead - off && wrote[1] <= between[1] + ahead + off
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(entries: &[(&str, &str, u64)]) -> Fetched {
        let key =
            |(mac, responder, count): &(&str, &str, u64)| (((*mac).into(), (*responder).into()), *count);
        entries.iter().map(key).collect()
    }

    fn knows(seen: &[(&str, &str, u64)], unsure: &[(&str, &str, u64)]) -> Known {
        Known { seen: fetched(seen), unsure: fetched(unsure) }
    }

    #[test]
    fn each_machine_and_responder_is_compared_by_itself() {
        let known = knows(&[("m", "a", 2), ("n", "a", 1), ("o", "b", 1)], &[]);
        let none = Fetched::new();
        assert_eq!(compare(&known, &none, &known.seen), Differences::default());
        let ledger = fetched(&[("m", "a", 1), ("n", "b", 1), ("o", "b", 3)]);
        let differences = compare(&known, &none, &ledger);
        assert_eq!(differences, Differences { missing: 2, excused: 0, surplus: 3 });
    }

    #[test]
    fn an_excuse_is_for_one_responder_and_no_more_than_it_says() {
        let known = knows(&[("m", "a", 3), ("n", "b", 1)], &[]);
        let excusable = fetched(&[("m", "a", 1), ("n", "a", 1)]);
        let differences = compare(&known, &excusable, &Fetched::new());
        assert_eq!(differences, Differences { missing: 3, excused: 1, surplus: 0 });
    }

    #[test]
    fn a_file_whose_end_is_unsure_may_come_once_and_late() {
        let mut known = knows(&[("m", "b", 1)], &[("m", "a", 1)]);
        let (without, with) = (known.seen.clone(), fetched(&[("m", "a", 1), ("m", "b", 1)]));
        let none = Fetched::new();
        for ledger in [&without, &with] {
            assert_eq!(compare(&known, &none, ledger), Differences::default());
        }
        known.settle(without);
        assert_eq!(compare(&known, &none, &with), Differences::default());
        known.settle(with);
        assert_eq!(known.unsure, none);
        let twice = fetched(&[("m", "a", 2), ("m", "b", 1)]);
        assert_eq!(compare(&known, &none, &twice).surplus, 1);
        // What was excused may come later, once.
        let mut known = knows(&[("m", "a", 1)], &[]);
        known.settle(Fetched::new());
        assert_eq!(compare(&known, &none, &fetched(&[("m", "a", 1)])), Differences::default());
        assert_eq!(compare(&known, &none, &fetched(&[("m", "a", 2)])).surplus, 1);
    }

    #[test]
    fn rows_are_lost_that_a_successor_lacks_or_has_otherwise() {
        let rows = |rows: &[&str]| rows.iter().map(|row| (*row).to_owned()).collect::<BTreeSet<_>>();
        let shown = rows(&["a|1|x", "a|2|y"]);
        assert_eq!(lost(&shown, &rows(&["a|1|x", "a|2|y", "b|1|z"])), 0);
        assert_eq!(lost(&shown, &rows(&["a|1|x", "a|2|z"])), 1);
    }

    #[test]
    fn a_clock_is_recognized_by_the_times_that_it_wrote() {
        let between = [1_000_000, 1_020_000];
        assert!(is_by_clock([1_001_000, 1_019_000], between, 0));
        assert!(is_by_clock([1_061_000, 1_079_000], between, 60));
        assert!(is_by_clock([941_000, 959_000], between, -60));
        assert!(!is_by_clock([1_001_000, 1_019_000], between, 60));
        assert!(!is_by_clock([941_000, 1_019_000], between, 0));
    }
}
