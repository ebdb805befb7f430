//! Bytes read as a script: what is missing at its end is 0.

/// The rest of a script.
pub(super) struct Script<'a>(pub(super) &'a [u8]);

impl Script<'_> {
    /// The next step's number, if there is a further step.
    pub(super) fn step(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// The next argument.
    pub(super) fn byte(&mut self) -> u8 {
        self.step().unwrap_or_default()
    }

    /// One of these.
    pub(super) fn pick<T: Copy, const N: usize>(&mut self, of: [T; N]) -> T {
        of[usize::from(self.byte()) % N]
    }
}

impl<'a> Script<'a> {
    /// So many bytes, or as many as there are.
    pub(super) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
