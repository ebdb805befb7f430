//! Our TIDs.

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
