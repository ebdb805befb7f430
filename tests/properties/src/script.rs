//! Reads bytes as a script of steps and arguments. Missing bytes at the end are 0.

/// The rest of a script.
pub(super) struct Script<'a>(pub(super) &'a [u8]);

impl Script<'_> {
    /// The number of the next step, if there is one.
    pub(super) fn step(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// The next argument of a step.
    pub(super) fn byte(&mut self) -> u8 {
        self.step().unwrap_or_default()
    }

    /// One of the given values, selected by the next byte.
    pub(super) fn pick<T: Copy, const N: usize>(&mut self, of: [T; N]) -> T {
        of[usize::from(self.byte()) % N]
    }
}

impl<'a> Script<'a> {
    /// The next `len` bytes, or fewer at the end of the script.
    pub(super) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
