//! The TIDs of pxed, and the ids of transfers in a table.

/// A range of ports for TIDs. Each worker has a range of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TidPorts {
    /// First port of the range.
    pub first: u16,
    /// The number of ports, at least 1.
    pub count: u16,
}

impl TidPorts {
    /// Whether `port` is in the range.
    pub fn contains(self, port: u16) -> bool {
        port >= self.first && port - self.first < self.count
    }

    /// Returns the part of this range for worker `index` of `workers`. The remainder of the division stays
    /// unused.
    pub fn share(self, index: u16, workers: u16) -> Self {
        let count = (self.count / workers.max(1)).max(1);
        Self { first: self.first + index * count, count }
    }
}

/// Identifies a transfer: its slot, and the generation of the slot. If the slot holds another transfer later,
/// the old id is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl Id {
    /// The index of the slot.
    pub fn slot(self) -> u32 {
        self.slot
    }

    /// The generation of the slot, mapped to numbers from 1 on. It repeats after four billion transfers in
    /// the slot.
    pub fn generation(self) -> u32 {
        self.generation % u32::MAX + 1
    }
}
