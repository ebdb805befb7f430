//! [`Machines`]: the machines of a board, sorted. A board on which one machine has changed shares all others with the
//! board before it, even if there are 65,536: a copy is one reference, and a change is one path through a tree. This
//! matters because each report of a test waits for a board of its own, and a stranger can invent thousands of machines
//! a second.

use std::cmp::{Ordering, Reverse};
use std::fmt;
use std::ops::Bound;

use rpds::RedBlackTreeSetSync;
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::{EncodedMachine, State, UnixMs};

/// Machines in the board's order: states that need attention first, then the machines that were seen last.
#[derive(Clone, Default)]
pub struct Machines(RedBlackTreeSetSync<Row>);

/// A machine, compared by its place on the board.
#[derive(Clone)]
struct Row(EncodedMachine);

impl Row {
    fn key(&self) -> (State, Reverse<UnixMs>, &str) {
        (self.0.state, Reverse(self.0.last_seen), &self.0.mac)
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Row {}

impl Machines {
    /// Adds a machine. The caller removes what was known of it before.
    pub fn insert(&mut self, machine: EncodedMachine) {
        self.0.insert_mut(Row(machine));
    }

    /// Removes a machine, as it was inserted.
    pub fn remove(&mut self, machine: &EncodedMachine) {
        self.0.remove_mut(&Row(machine.clone()));
    }

    /// The number of machines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.size()
    }

    /// Whether there is no machine.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The machines in the board's order.
    pub fn iter(&self) -> impl Iterator<Item = &EncodedMachine> {
        self.0.iter().map(|row| &row.0)
    }

    /// The machines after one of them, in the board's order; with `None`, all.
    pub fn after(&self, machine: Option<&EncodedMachine>) -> impl Iterator<Item = &EncodedMachine> {
        let start = machine.map_or(Bound::Unbounded, |machine| Bound::Excluded(Row(machine.clone())));
        self.0.range((start, Bound::Unbounded)).map(|row| &row.0)
    }
}

impl FromIterator<EncodedMachine> for Machines {
    fn from_iter<T: IntoIterator<Item = EncodedMachine>>(machines: T) -> Self {
        let mut sorted = Self::default();
        machines.into_iter().for_each(|machine| sorted.insert(machine));
        sorted
    }
}

impl PartialEq for Machines {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Machines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Machines {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Machines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<EncodedMachine>::deserialize(deserializer).map(Self::from_iter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Machine;
    use crate::machine::Machine as Known;
    use pxe_proto::mac::Mac;

    fn machine(n: u8, state: State, last_seen: u64) -> EncodedMachine {
        let shown = Known::new(UnixMs(1), Mac([2, 0, 0, 0, 0, n])).shown;
        Machine { state, last_seen: UnixMs(last_seen), ..shown }.into()
    }

    fn order(machines: &Machines) -> Vec<&str> {
        machines.iter().map(|machine| &machine.mac[15..]).collect()
    }

    #[test]
    fn what_needs_attention_comes_first_and_then_what_was_heard_of_last() {
        let mut machines = Machines::default();
        for (n, state, last_seen) in [
            (0, State::Running, 9),
            (1, State::Offered, 1),
            (3, State::Offered, 3),
            (2, State::Failed, 2),
            (4, State::Offered, 3),
        ] {
            machines.insert(machine(n, state, last_seen));
        }
        assert_eq!(order(&machines), ["02", "03", "04", "01", "00"]);
        machines.remove(&machine(3, State::Offered, 3));
        machines.remove(&machine(9, State::Offered, 3));
        assert_eq!((order(&machines), machines.len()), (vec!["02", "04", "01", "00"], 4));
    }

    #[test]
    fn a_reader_goes_on_where_it_stopped() {
        let machines: Machines = (0..9).map(|n| machine(n, State::Seen, u64::from(n))).collect();
        let mut last: Option<&EncodedMachine> = None;
        let mut read = Vec::new();
        while let Some(next) = machines.after(last).next() {
            read.push(&next.mac[15..]);
            last = Some(next);
        }
        assert_eq!(read, order(&machines));
        assert_eq!(read.len(), 9);
    }

    /// If one machine changes, the new board shares all other machines and their JSON with the old one.
    #[test]
    fn a_change_costs_one_machine() {
        let before: Machines = (0..9).map(|n| machine(n, State::Seen, u64::from(n))).collect();
        let mut after = before.clone();
        after.remove(&machine(4, State::Seen, 4));
        after.insert(machine(4, State::Seen, 4));
        let same: Vec<_> = before.iter().zip(after.iter()).map(|(before, after)| before.is(after)).collect();
        assert_eq!(same, [true, true, true, true, false, true, true, true, true]);
        let first = |machines: &Machines| machines.iter().next().unwrap().json().as_ptr();
        assert_eq!(first(&before), first(&after));
        assert_eq!(before, after);
    }
}
