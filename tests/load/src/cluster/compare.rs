//! [`Differences`] between what machines saw and what the ledger says. Pure.

use std::collections::BTreeMap;

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

/// Compares what machines `seen` have, of which these are `excusable`, with the `ledger`.
#[must_use]
pub fn compare(seen: &Fetched, excusable: &Fetched, ledger: &Fetched) -> Differences {
    let count = |of: &Fetched, key| of.get(key).copied().unwrap_or(0);
    let mut differences = Differences::default();
    for (key, wanted) in seen {
        let missing = wanted.saturating_sub(count(ledger, key));
        let excused = missing.min(count(excusable, key));
        differences.excused += excused;
        differences.missing += missing - excused;
    }
    differences.surplus = ledger.iter().map(|(key, has)| has.saturating_sub(count(seen, key))).sum();
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(entries: &[(&str, &str, u64)]) -> Fetched {
        let key =
            |(mac, responder, count): &(&str, &str, u64)| (((*mac).into(), (*responder).into()), *count);
        entries.iter().map(key).collect()
    }

    #[test]
    fn each_machine_and_responder_is_compared_by_itself() {
        let seen = fetched(&[("m", "a", 2), ("n", "a", 1), ("o", "b", 1)]);
        let none = Fetched::new();
        assert_eq!(compare(&seen, &none, &seen), Differences::default());
        let ledger = fetched(&[("m", "a", 1), ("n", "b", 1), ("o", "b", 3)]);
        let differences = compare(&seen, &none, &ledger);
        assert_eq!(differences, Differences { missing: 2, excused: 0, surplus: 3 });
    }

    #[test]
    fn an_excuse_is_for_one_responder_and_no_more_than_it_says() {
        let seen = fetched(&[("m", "a", 3), ("n", "b", 1)]);
        let excusable = fetched(&[("m", "a", 1), ("n", "a", 1)]);
        let differences = compare(&seen, &excusable, &Fetched::new());
        assert_eq!(differences, Differences { missing: 3, excused: 1, surplus: 0 });
    }
}
