//! What other responders of a shared ledger wrote. Their machines are shown and count in decisions here, but this responder
//! neither runs their timers nor writes them (`machine::owner`).

use std::collections::HashSet;
use std::sync::Arc;

use super::Registry;
use crate::board::UnixMs;
use crate::machine::{Machine, replaces};
use pxe_proto::mac::Mac;

/// Maximum number of machines of other responders. Those beyond it are in the shared ledger, and are not shown here.
const FOREIGN_MAX: usize = pxe_ledger::sqlite::OTHERS_MAX as usize;

impl Registry {
    /// Sets the name of this responder.
    pub(crate) fn set_responder(&mut self, name: &str) {
        self.responder = name.into();
    }

    /// Another responder wrote a machine. `is_pending` says whether ours has changes that are not stored yet: these will get
    /// a greater version.
    pub(crate) fn learn(&mut self, now: UnixMs, theirs: Machine, is_pending: bool) {
        let mac = theirs.mac;
        let Some(responder) = theirs.shown.responder.clone() else { return };
        let is_pending = is_pending || self.change_log.changes.machines.contains(&mac);
        let image = theirs.shown.image.as_deref().map(Arc::from);
        match self.machines.get_mut(&mac) {
            Some(known) => {
                let present = (known.version, known.shown.responder.as_deref().unwrap_or(&self.responder));
                if is_pending || !replaces((theirs.version, &responder), present) {
                    return;
                }
                let before = known.address().filter(|address| theirs.address() != Some(*address));
                known.learn(now, theirs);
                if let Some(before) = before.filter(|before| self.by_address.get(before) == Some(&mac)) {
                    self.by_address.remove(&before);
                }
                // Its last sign of life is by the clock of now.
                self.last_seen.remove(mac);
            }
            None => {
                if self.foreign.len() >= FOREIGN_MAX {
                    return;
                }
                let mut theirs = theirs;
                theirs.introduce(now);
                self.machines.insert(mac, theirs);
            }
        }
        self.foreign.insert(mac);
        self.images.extend(image);
        self.change_log.show(mac);
        self.stand(mac);
    }

    /// The boots of a machine that count, over all responders, as far as they have written them. The machine itself is not
    /// marked as changed: what this responder knows of it may be older than what its present one wrote.
    pub(crate) fn count(&mut self, mac: Mac, epoch: u64, counts: Vec<(Arc<str>, u32)>) {
        if self.machines.get_mut(&mac).is_some_and(|machine| machine.count(epoch, counts)) {
            self.stand(mac);
        }
    }

    /// Forgets machines of other responders that are not in `listed`.
    pub(crate) fn keep(&mut self, listed: &HashSet<Mac>) {
        let gone = |machine: &&Machine| machine.is_foreign() && !listed.contains(&machine.mac);
        let gone: Vec<_> = self.machines.values().filter(gone).map(|machine| machine.mac).collect();
        gone.into_iter().for_each(|mac| self.forget(mac));
    }

    /// The machines of a batch are stored with this version. With `None`, all machines of this responder are.
    pub(crate) fn stored(&mut self, macs: Option<&HashSet<Mac>>, version: u64) {
        let set = |machine: &mut Machine| {
            if !machine.is_foreign() {
                machine.version = version;
            }
        };
        match macs {
            Some(macs) => {
                for mac in macs {
                    self.machines.get_mut(mac).into_iter().for_each(set);
                }
            }
            None => self.machines.values_mut().for_each(set),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::board::State;
    use crate::event::{Event, OfferKind, Requester, brief};
    use pxe_proto::dhcp::{Arch, Style};

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn registry() -> Registry {
        let mut registry = Registry::new(Duration::from_secs(60), 1);
        registry.set_responder("rack-1");
        registry
    }

    fn offered(registry: &mut Registry, now: u64) {
        let requester = Box::new(Requester::new(MAC, Arch::X64));
        let (what, style) = (OfferKind::Boot, Style::Direct);
        let event = Event::Offered { requester, what, file: brief("x"), style, ack: false };
        registry.apply(UnixMs(now), &event, |_| None);
    }

    /// The machine as another responder knows it.
    fn theirs(responder: &str, version: u64) -> Machine {
        let mut other = registry();
        offered(&mut other, 1000);
        let mut machine = other.machine(MAC).unwrap().clone();
        machine.version = version;
        machine.shown.responder = Some(responder.into());
        machine
    }

    fn owner(registry: &Registry) -> Option<&str> {
        registry.machine(MAC).unwrap().shown.responder.as_deref()
    }

    #[test]
    fn a_foreign_machine_has_no_timers_and_is_not_written() {
        let mut registry = registry();
        registry.learn(UnixMs(1000), theirs("rack-2", 7), false);
        assert_eq!(registry.foreign.len(), 1);
        assert!(!registry.tick(UnixMs(10_000_000)), "no timer runs");
        registry.clock_set(1000);
        registry.expire(UnixMs(u64::MAX / 2), Duration::from_secs(1));
        let changes = registry.take_changes();
        assert!(changes.machines.is_empty() && changes.steps.is_empty() && changes.forgotten.is_empty());
        assert!(changes.resumed.contains(&MAC), "it is shown");
        assert_eq!(registry.machine(MAC).unwrap().shown.state, State::Offered);
    }

    #[test]
    fn a_machine_that_speaks_here_becomes_ours_and_its_timers_run() {
        let mut registry = registry();
        registry.learn(UnixMs(1000), theirs("rack-2", 7), false);
        registry.take_changes();
        offered(&mut registry, 2000);
        assert!(registry.tick(UnixMs(2001)), "at once");
        assert!(registry.take_changes().machines.contains(&MAC));
        assert_eq!((owner(&registry), registry.foreign.len()), (None, 0));
        registry.tick(UnixMs(200_000));
        assert_eq!(registry.machine(MAC).unwrap().shown.state, State::Failed);
    }

    #[test]
    fn the_greater_version_wins_unless_ours_has_changed_since() {
        let mut registry = registry();
        offered(&mut registry, 1000);
        registry.learn(UnixMs(2000), theirs("rack-2", u64::MAX), false);
        assert_eq!(owner(&registry), None, "a change that is not taken yet gets a greater version");
        let macs = registry.take_changes().machines;
        registry.learn(UnixMs(2000), theirs("rack-2", u64::MAX), true);
        assert_eq!(owner(&registry), None, "nor one that is not stored yet");
        registry.stored(Some(&macs), 7);
        registry.learn(UnixMs(2000), theirs("rack-0", 7), false);
        assert_eq!(owner(&registry), None, "the same version, and the lesser name");
        registry.learn(UnixMs(2000), theirs("rack-2", 7), false);
        assert_eq!(owner(&registry), Some("rack-2"));
        registry.learn(UnixMs(2000), theirs("rack-3", 6), false);
        assert_eq!(owner(&registry), Some("rack-2"));
        registry.learn(UnixMs(2000), theirs("rack-3", 8), false);
        assert_eq!(owner(&registry), Some("rack-3"));
        registry.take_changes();
        registry.learn(UnixMs(2000), theirs("rack-3", 8), false);
        assert!(registry.changes().is_empty(), "what is known is no news");
    }

    #[test]
    fn counts_and_epochs_of_others_are_in_the_boot_records() {
        let mut registry = registry();
        offered(&mut registry, 1000);
        registry.take_changes();
        registry.count(MAC, 0, vec![("lab".into(), 2)]);
        assert_eq!(registry.take_boot_records().unwrap()[&MAC].boots_by("lab"), 2);
        registry.count(MAC, 5, vec![]);
        assert!(registry.take_boot_records().unwrap().is_empty());
        registry.count(MAC, 4, vec![("lab".into(), 9)]);
        assert!(registry.take_boot_records().is_none());
        assert!(registry.take_changes().machines.is_empty(), "nothing is written back");
    }

    #[test]
    fn again_for_a_foreign_machine_raises_its_epoch_and_leaves_it_to_its_responder() {
        let mut registry = registry();
        registry.learn(UnixMs(1000), theirs("rack-2", 7), false);
        registry.count(MAC, 0, vec![("lab".into(), 2)]);
        registry.take_changes();
        assert_eq!(registry.again(UnixMs(5000), None), 1);
        let changes = registry.take_changes();
        assert_eq!((changes.epochs[&MAC], changes.machines.len(), changes.steps.len()), (5000, 0, 1));
        assert_eq!(owner(&registry), Some("rack-2"));
        assert!(registry.take_boot_records().unwrap().is_empty());
    }

    #[test]
    fn a_machine_that_is_gone_from_the_ledger_leaves_the_board() {
        let mut registry = registry();
        registry.learn(UnixMs(1000), theirs("rack-2", 7), false);
        registry.keep(&HashSet::from([MAC]));
        registry.take_changes();
        registry.keep(&HashSet::new());
        let changes = registry.take_changes();
        assert!(
            registry.machine(MAC).is_none() && changes.forgotten.is_empty() && registry.foreign.is_empty()
        );
        assert!(changes.dropped.contains(&MAC) && !changes.is_empty());
        offered(&mut registry, 1000);
        registry.keep(&HashSet::new());
        assert!(registry.machine(MAC).is_some(), "ours stays");
    }
}
