//! [`Rows`]: the machines as the board shows them, sorted. A change sorts and encodes one machine only, even
//! if there are 65,536. This matters because a stranger can invent thousands of machines a second. A board
//! still clones one `Arc` for each machine.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use crate::board::{EncodedMachine, Machine, State, UnixMs};
use pxe_proto::mac::Mac;

/// The board's order: states that need attention first, then the machines that were seen last.
type Key = (State, Reverse<UnixMs>, Mac);

/// All machines, sorted by key.
#[derive(Debug, Default)]
pub(super) struct Rows {
    cards: BTreeMap<Key, EncodedMachine>,
    keys: HashMap<Mac, Key>,
}

impl Rows {
    /// Adds or replaces a machine.
    pub(super) fn put(&mut self, mac: Mac, machine: &Machine) -> EncodedMachine {
        let key = (machine.state, Reverse(machine.last_seen), mac);
        if let Some(before) = self.keys.insert(mac, key).filter(|before| *before != key) {
            self.cards.remove(&before);
        }
        let card = EncodedMachine::from(machine.clone());
        self.cards.insert(key, card.clone());
        card
    }

    /// Removes a machine.
    pub(super) fn remove(&mut self, mac: Mac) {
        if let Some(key) = self.keys.remove(&mac) {
            self.cards.remove(&key);
        }
    }

    /// Returns all machines in the board's order.
    pub(super) fn all(&self) -> Vec<EncodedMachine> {
        self.cards.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine as Known;

    fn machine(n: u8, state: State, last_seen: u64) -> (Mac, Machine) {
        let mac = Mac([2, 0, 0, 0, 0, n]);
        (mac, Machine { state, last_seen: UnixMs(last_seen), ..Known::new(UnixMs(1), mac).shown })
    }

    #[test]
    fn what_needs_attention_comes_first_and_then_what_was_heard_of_last() {
        let mut rows = Rows::default();
        let last = |rows: &Rows| -> Vec<String> {
            rows.all().iter().map(|card| card.mac[15..].to_owned()).collect()
        };
        for (n, state, last_seen) in [
            (0, State::Running, 9),
            (1, State::Offered, 1),
            (3, State::Offered, 3),
            (2, State::Failed, 2),
            (4, State::Offered, 3),
        ] {
            let (mac, machine) = machine(n, state, last_seen);
            rows.put(mac, &machine);
        }
        assert_eq!(last(&rows), ["02", "03", "04", "01", "00"]);
        let (mac, failed) = machine(1, State::Failed, 10);
        rows.put(mac, &failed);
        rows.remove(Mac([2, 0, 0, 0, 0, 3]));
        rows.remove(Mac([2, 0, 0, 0, 0, 9]));
        assert_eq!(last(&rows), ["01", "02", "04", "00"]);
    }

    /// If one machine changes, the new board shares all other machines and their JSON with the old one.
    #[test]
    fn a_change_costs_one_machine() {
        let mut rows = Rows::default();
        for n in 0..9 {
            let (mac, machine) = machine(n, State::Seen, u64::from(n));
            rows.put(mac, &machine);
        }
        let before = rows.all();
        let (mac, changed) = machine(4, State::Seen, 4);
        rows.put(mac, &Machine { boots: 1, ..changed });
        let after = rows.all();
        let same: Vec<_> = before.iter().zip(&after).map(|(before, after)| before.is(after)).collect();
        assert_eq!(same, [true, true, true, true, false, true, true, true, true]);
        assert!(std::ptr::eq(before[0].json(), after[0].json()));
    }
}
