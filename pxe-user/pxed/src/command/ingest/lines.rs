//! Bytes -> lines, whatever a serial line makes of them.

/// The longest line, in bytes; what is behind is left out, as the daemon would do.
pub(super) const LINE_MAX: usize = 4096;

/// The line under way.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
}

impl Lines {
    /// Takes bytes, and gives each line that ends in them.
    pub(super) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        for byte in bytes {
            match byte {
                b'\n' => self.end(&mut each),
                // A newline within a line would make two of it; no test writes one.
                _ if self.line.len() < LINE_MAX => self.line.push(*byte),
                _ => {}
            }
        }
    }

    /// The last line, if it has no end.
    pub(super) fn end(&mut self, mut each: impl FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.line);
        let text = text.trim_end_matches('\r');
        if !text.is_empty() {
            each(text);
        }
        self.line.clear();
    }
}
