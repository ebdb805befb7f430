//! [`Rows`]: the machines as the next board shows them, and where each of them stands.

use std::collections::HashMap;

use crate::board::{EncodedMachine, Machine, Machines};
use pxe_proto::mac::Mac;

/// All machines, sorted, and found by their addresses.
#[derive(Debug, Default)]
pub(super) struct Rows {
    sorted: Machines,
    by_mac: HashMap<Mac, EncodedMachine>,
}

impl Rows {
    /// Adds or replaces a machine.
    pub(super) fn put(&mut self, mac: Mac, machine: &Machine) -> EncodedMachine {
        let encoded = EncodedMachine::from(machine.clone());
        if let Some(before) = self.by_mac.insert(mac, encoded.clone()) {
            self.sorted.remove(&before);
        }
        self.sorted.insert(encoded.clone());
        encoded
    }

    /// Removes a machine.
    pub(super) fn remove(&mut self, mac: Mac) {
        if let Some(before) = self.by_mac.remove(&mac) {
            self.sorted.remove(&before);
        }
    }

    /// Returns all machines in the board's order. It costs nothing: they are shared.
    pub(super) fn all(&self) -> Machines {
        self.sorted.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::{State, UnixMs};
    use crate::machine::Machine as Known;

    #[test]
    fn a_machine_has_one_row() {
        let mut rows = Rows::default();
        let put = |rows: &mut Rows, n: u8, state, last_seen| {
            let mac = Mac([2, 0, 0, 0, 0, n]);
            let machine = Machine { state, last_seen: UnixMs(last_seen), ..Known::new(UnixMs(1), mac).shown };
            rows.put(mac, &machine)
        };
        put(&mut rows, 1, State::Offered, 1);
        put(&mut rows, 2, State::Offered, 2);
        let failed = put(&mut rows, 1, State::Failed, 10);
        let board = rows.all();
        assert_eq!(board.len(), 2);
        assert!(board.iter().next().is_some_and(|first| first.is(&failed)));
        rows.remove(Mac([2, 0, 0, 0, 0, 1]));
        rows.remove(Mac([2, 0, 0, 0, 0, 9]));
        assert_eq!((rows.all().len(), board.len()), (1, 2), "a board stays as it is");
    }
}
