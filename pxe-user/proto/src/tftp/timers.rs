//! One timer for each slot: a binary heap with an index from each slot to its entry.
//!
//! The index lets [`Timers::set`] move an existing timer instead of adding a second one, so clients cannot
//! make the heap grow. With another type of key than a time, it is a queue from which any slot can be
//! removed.

use crate::time::Timestamp;

/// In `places`: the slot has no timer.
const NOWHERE: u32 = u32::MAX;

/// The timers of a fixed number of slots, earliest first. `K` is the key: a time, or a number that gives the
/// order.
#[derive(Debug)]
pub(super) struct Timers<K = Timestamp> {
    /// A binary heap: an entry is never smaller than its parent.
    heap: Vec<(K, u32)>,
    /// The index of each slot in `heap`, or [`NOWHERE`]. The heap has at most one entry for each slot, so an
    /// index fits 32 bits.
    places: Vec<u32>,
}

impl<K: Copy + Ord> Timers<K> {
    /// Memory for one slot, in bytes.
    pub(super) const BYTES_EACH: usize = size_of::<(K, u32)>() + size_of::<u32>();

    /// Allocates `slots` timers. None is set.
    pub(super) fn new(slots: usize) -> Self {
        Self { heap: Vec::with_capacity(slots), places: vec![NOWHERE; slots] }
    }

    /// Sets the timer of `slot` to `at`, in place of its previous time. Ignores a slot that does not exist.
    pub(super) fn set(&mut self, slot: u32, at: K) {
        let Some(&place) = self.places.get(slot as usize) else { return };
        if let Some(entry) = self.heap.get_mut(place as usize) {
            entry.0 = at;
            self.settle(place as usize);
        } else {
            self.heap.push((at, slot));
            self.settle(self.heap.len() - 1);
        }
    }

    /// Stops the timer of `slot`, if it is set.
    pub(super) fn clear(&mut self, slot: u32) {
        let Some(&place) = self.places.get(slot as usize) else { return };
        let place = place as usize;
        if place < self.heap.len() {
            self.heap.swap_remove(place);
            self.places[slot as usize] = NOWHERE;
            if place < self.heap.len() {
                self.settle(place);
            }
        }
    }

    /// Returns the time of the timer of `slot`; `None` if it is not set.
    pub(super) fn get(&self, slot: u32) -> Option<K> {
        self.heap.get(*self.places.get(slot as usize)? as usize).map(|(at, _)| *at)
    }

    /// Returns the earliest timer and its slot.
    pub(super) fn first(&self) -> Option<(K, u32)> {
        self.heap.first().copied()
    }

    /// Moves the entry at index `place` up or down until the heap is in order.
    fn settle(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while place > 0 && entry < self.heap[(place - 1) / 2] {
            place = self.shift((place - 1) / 2, place);
        }
        loop {
            let left = 2 * place + 1;
            let Some(children) = self.heap.get(left..self.heap.len().min(left + 2)) else { break };
            let smaller =
                if children.get(1) < children.first() && children.len() == 2 { left + 1 } else { left };
            if self.heap.get(smaller).is_none_or(|child| *child >= entry) {
                break;
            }
            place = self.shift(smaller, place);
        }
        self.heap[place] = entry;
        self.places[entry.1 as usize] = place as u32;
    }

    /// Moves the entry at index `from` to `to`. Returns `from`, which is free then.
    fn shift(&mut self, from: usize, to: usize) -> usize {
        self.heap[to] = self.heap[from];
        self.places[self.heap[to].1 as usize] = to as u32;
        from
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Set(u32, u64),
        Clear(u32),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            3 => (0u32..12, 0u64..20).prop_map(|(slot, at)| Act::Set(slot, at)),
            1 => (0u32..12).prop_map(Act::Clear),
        ]
    }

    proptest! {
        /// Compares with a plain map. Slots 10 and 11 do not exist.
        #[test]
        fn the_earliest_is_first_and_each_slot_has_one(acts in prop::collection::vec(act(), 0..200)) {
            let mut timers = Timers::new(10);
            let mut model = BTreeMap::new();
            let room = timers.heap.capacity();
            for act in acts {
                match act {
                    Act::Set(slot, at) => {
                        timers.set(slot, Timestamp::from_micros(at));
                        if slot < 10 {
                            model.insert(slot, at);
                        }
                    }
                    Act::Clear(slot) => {
                        timers.clear(slot);
                        model.remove(&slot);
                    }
                }
                let first = timers.first().map(|(at, slot)| (at.as_micros(), slot));
                prop_assert_eq!(first, model.iter().map(|(slot, at)| (*at, *slot)).min());
                for slot in 0..12 {
                    let at = timers.get(slot).map(Timestamp::as_micros);
                    prop_assert_eq!(at, model.get(&slot).copied());
                }
                prop_assert_eq!(timers.heap.capacity(), room);
            }
        }
    }
}
