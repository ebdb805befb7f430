//! One timer for each slot: a binary heap that knows where each slot stands in it, so that a timer is moved instead of
//! added again. It never grows, whatever clients send. With other keys than times it is a queue that can be left anywhere.

use crate::time::Timestamp;

/// A slot without a timer.
const NOWHERE: u32 = u32::MAX;

/// The timers of a fixed number of slots, the earliest first.
#[derive(Debug)]
pub(super) struct Timers<K = Timestamp> {
    /// A heap: no entry rings before the one above it.
    heap: Vec<(K, u32)>,
    /// Where each slot's entry is in the heap, which is no longer than slots have numbers.
    places: Vec<u32>,
}

impl<K: Copy + Ord> Timers<K> {
    /// What a slot's timer costs, in bytes.
    pub(super) const BYTES_EACH: usize = size_of::<(K, u32)>() + size_of::<u32>();

    /// Room for `slots` timers, none of which runs.
    pub(super) fn new(slots: usize) -> Self {
        Self { heap: Vec::with_capacity(slots), places: vec![NOWHERE; slots] }
    }

    /// The timer of `slot` shall ring at `at`, and no more when it would have rung before.
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

    /// The timer of `slot` shall not ring.
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

    /// When the timer of `slot` rings.
    pub(super) fn get(&self, slot: u32) -> Option<K> {
        self.heap.get(*self.places.get(slot as usize)? as usize).map(|(at, _)| *at)
    }

    /// The timer that rings first.
    pub(super) fn first(&self) -> Option<(K, u32)> {
        self.heap.first().copied()
    }

    /// Moves the entry at `place` up or down until the heap is one again.
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

    /// Moves the entry at `from` to `to`; the gap is where it was.
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
        /// Against a plain map; slots 10 and 11 do not exist.
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
