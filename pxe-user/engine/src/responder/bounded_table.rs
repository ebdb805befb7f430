//! A table of bounded size for sources and machines, whose addresses anybody can forge: the memory is allocated at the
//! start, and a new key takes the place of another.
//!
//! A value is a number that grows with time, and 0 stands for no value. If all entries of a key's set are taken, the
//! smallest value gives way: it is the one that holds least, or is oldest.

use std::hash::{BuildHasher as _, Hash, RandomState};

/// Number of sets. All sets together hold as many entries as the kernel's maps of the same purpose
/// (`abi::SOURCES_MAX`, `abi::ASKED_MAX`).
const SETS: usize = 2048;
/// Entries in a set.
const WAYS: usize = pxe_common::abi::SOURCES_MAX as usize / SETS;

/// A key and its value.
#[derive(Clone, Copy, Debug, Default)]
struct Entry<K> {
    key: K,
    /// 0 if the entry is free.
    value: u64,
}

/// The table.
#[derive(Debug)]
pub(super) struct BoundedTable<K> {
    sets: Box<[[Entry<K>; WAYS]]>,
    /// Keyed, because attackers choose the keys that are hashed.
    hasher: RandomState,
}

impl<K: Copy + Default + Eq + Hash> BoundedTable<K> {
    /// An empty table. If `used` is false, no memory is allocated, and the table stays empty.
    pub(super) fn new(used: bool) -> Self {
        let sets = if used { SETS } else { 0 };
        Self { sets: vec![[Entry::default(); WAYS]; sets].into(), hasher: RandomState::new() }
    }

    /// Whether the table holds nothing, ever.
    pub(super) fn is_unused(&self) -> bool {
        self.sets.is_empty()
    }

    /// Replaces the value of a key by what `change` makes of it; `None` leaves the table as it is. A key without a value
    /// has 0. Returns the new value.
    pub(super) fn update(&mut self, key: &K, change: impl FnOnce(u64) -> Option<u64>) -> Option<u64> {
        if self.sets.is_empty() {
            return None;
        }
        // SETS is a power of two, so the remainder is distributed as evenly as the hash.
        let place = self.hasher.hash_one(key) % SETS as u64;
        let set = &mut self.sets[place as usize];
        let own = set.iter().position(|entry| entry.key == *key && entry.value > 0);
        let forgotten = || (0..WAYS).min_by_key(|way| set[*way].value).unwrap_or(0);
        let way = own.unwrap_or_else(forgotten);
        let value = change(if own.is_some() { set[way].value } else { 0 })?;
        set[way] = Entry { key: *key, value };
        Some(value)
    }

    /// All values that are not 0.
    #[cfg(test)]
    pub(super) fn values(&self) -> impl Iterator<Item = u64> + '_ {
        self.sets.iter().flatten().map(|entry| entry.value).filter(|value| *value > 0)
    }
}
