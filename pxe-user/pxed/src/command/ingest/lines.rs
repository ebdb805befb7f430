//! Splits bytes of a serial line into lines. Any bytes are accepted.

/// The longest line, in bytes. The rest of a longer line is dropped; the daemon would do the same.
pub(super) const LINE_MAX: usize = 4096;

/// A splitter, with the line that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
}

impl Lines {
    /// Adds bytes, and calls `each` for each line that they complete.
    pub(super) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        for byte in bytes {
            match byte {
                b'\n' => self.end(&mut each),
                // A newline in the middle of a line would split it; no memory test writes one.
                _ if self.line.len() < LINE_MAX => self.line.push(*byte),
                _ => {}
            }
        }
    }

    /// Ends the current line. Called at each newline, and at the end of the input for a last line without one.
    pub(super) fn end(&mut self, mut each: impl FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.line);
        let text = text.trim_end_matches('\r');
        if !text.is_empty() {
            each(text);
        }
        self.line.clear();
    }
}
