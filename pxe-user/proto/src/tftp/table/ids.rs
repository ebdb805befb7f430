//! Our TIDs, and the names of transfers in a table.

/// The ports that we use as TIDs: a range that this worker has for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TidPorts {
    /// First port of the range.
    pub first: u16,
    /// How many there are, at least 1.
    pub count: u16,
}

impl TidPorts {
    /// Whether a port is one of ours.
    pub fn contains(self, port: u16) -> bool {
        port >= self.first && port - self.first < self.count
    }

    /// The range of worker `index` out of `workers`, which share this range.
    pub fn share(self, index: u16, workers: u16) -> Self {
        let count = (self.count / workers.max(1)).max(1);
        Self { first: self.first + index * count, count }
    }
}

/// Names a slot of the table, together with the transfer that is in it: a slot that was given to another transfer
/// meanwhile is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl Id {
    /// The slot's number.
    pub fn slot(self) -> u32 {
        self.slot
    }

    /// Which of the slot's transfers, as a number that is never 0; it comes again after four billion of them.
    pub fn generation(self) -> u32 {
        self.generation % u32::MAX + 1
    }
}
