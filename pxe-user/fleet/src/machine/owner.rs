//! Which responder of a shared ledger a machine belongs to: the one whose row has the greatest version. Only that one runs its
//! timers and writes it. A machine that another responder saw last is foreign; it becomes ours with its next change here.

use std::sync::Arc;

use super::{BOOTS_SHOWN, Machine};
use crate::board::UnixMs;

/// Whether a row of another responder replaces the present one: the greater version wins; of equal versions, the one of the
/// greater name. The database decides in the same way (`pxe_ledger::postgres`).
pub(crate) fn replaces(theirs: (u64, &str), present: (u64, &str)) -> bool {
    theirs > present
}

impl Machine {
    /// Whether another responder saw it last.
    pub(crate) fn is_foreign(&self) -> bool {
        self.shown.responder.is_some()
    }

    /// It has changed here, so it is ours from now on.
    pub(crate) fn take_over(&mut self) {
        self.shown.responder = None;
    }

    /// Replaces what is known of it by what another responder wrote.
    pub(crate) fn learn(&mut self, now: UnixMs, mut theirs: Self) {
        // What was seen on the link of another responder says nothing about this one's link.
        theirs.on_link = self.on_link && theirs.epoch <= self.epoch;
        theirs.listening = now;
        theirs.console = theirs.console.or(self.console.take());
        theirs.boot_record.style = theirs.boot_record.style.or(self.boot_record.style);
        // The row has the latest boot only.
        let latest = theirs.boots.front().map(|boot| boot.at);
        let older = std::mem::take(&mut self.boots).into_iter();
        theirs.boots.extend(older.filter(|boot| latest.is_none_or(|latest| boot.at < latest)));
        theirs.boots.truncate(BOOTS_SHOWN);
        theirs.count(self.epoch, std::mem::take(&mut self.boot_record.boots));
        *self = theirs;
    }

    /// Prepares a machine that only another responder has seen.
    pub(crate) fn introduce(&mut self, now: UnixMs) {
        self.on_link = false;
        self.listening = now;
    }

    /// Boots that count, as another source knows them. Of two counts of one epoch the greater one is right, because each source
    /// knows only boots that happened. Returns whether anything was new.
    pub(crate) fn count(&mut self, epoch: u64, counts: Vec<(Arc<str>, u32)>) -> bool {
        if epoch < self.epoch {
            return false;
        }
        let is_raised = epoch > self.epoch;
        if is_raised {
            self.reset_counts(epoch);
        }
        let mut is_new = is_raised;
        for (rule, boots) in counts {
            match self.boot_record.boots.iter_mut().find(|(known, _)| *known == rule) {
                Some((_, known)) => {
                    is_new |= boots > *known;
                    *known = boots.max(*known);
                }
                None => {
                    is_new = true;
                    self.boot_record.boots.push((rule, boots));
                }
            }
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pxe_proto::mac::Mac;

    #[test]
    fn the_greater_version_wins_and_of_equal_ones_the_greater_name() {
        for (theirs, present, wins) in [
            ((2, "a"), (1, "b"), true),
            ((1, "b"), (2, "a"), false),
            ((2, "b"), (2, "a"), true),
            ((2, "a"), (2, "b"), false),
            ((2, "a"), (2, "a"), false),
            ((0, "a"), (0, ""), true),
        ] {
            assert_eq!(replaces(theirs, present), wins, "{theirs:?} over {present:?}");
            assert!(!(replaces(theirs, present) && replaces(present, theirs)), "one of two wins");
        }
    }

    fn machine(epoch: u64, boots: u32) -> Machine {
        let mut machine = Machine::new(UnixMs(1), Mac([2; 6]));
        machine.count(epoch, vec![("lab".into(), boots)]);
        machine
    }

    #[test]
    fn counts_of_one_epoch_are_the_greater_and_a_later_epoch_resets_them() {
        for (known, heard, epoch, boots, is_new) in [
            ((5, 2), (5, 3), 5, 3, true),
            ((5, 3), (5, 2), 5, 3, false),
            ((5, 3), (6, 1), 6, 1, true),
            ((6, 1), (5, 3), 6, 1, false),
        ] {
            let mut machine = machine(known.0, known.1);
            assert_eq!(machine.count(heard.0, vec![("lab".into(), heard.1)]), is_new);
            assert_eq!((machine.epoch, machine.boot_record.boots_by("lab")), (epoch, boots));
        }
    }

    #[test]
    fn what_this_host_knows_of_its_own_link_and_later_counts_stay() {
        let mut known = machine(5, 3);
        known.on_link = true;
        known.boots.push_back(crate::board::Boot::default());
        let mut theirs = machine(5, 1);
        theirs.shown.responder = Some("rack-2".into());
        theirs.shown.name = Some("one".into());
        known.learn(UnixMs(9), theirs);
        assert!(known.on_link && known.is_foreign() && known.boots.len() == 1);
        let mut later = known.clone();
        let at = |n| crate::board::Boot { at: UnixMs(n), ..crate::board::Boot::default() };
        later.boots = [at(7)].into();
        known.learn(UnixMs(9), later.clone());
        later.boots = [at(7)].into();
        known.learn(UnixMs(9), later);
        assert_eq!(known.boots, [at(7), at(0)], "the latest one once, and the older one");
        assert_eq!((known.boot_record.boots_by("lab"), known.shown.name.as_deref()), (3, Some("one")));
        // Another responder had it begin again: it may have moved behind a relay.
        known.learn(UnixMs(10), machine(6, 0));
        assert!(!known.on_link && !known.is_foreign());
        assert_eq!((known.epoch, known.boot_record.boots_by("lab")), (6, 0));
    }
}
