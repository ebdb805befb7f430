//! A problem of the file, and its line.

use std::fmt;

/// How bad a problem is. An error is greater than a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// pxed can use the file, but part of it surely has another effect than its author wants.
    Warning,
    /// pxed cannot use the file.
    Error,
}

/// A problem in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1. `None` if the problem has no single line.
    pub line: Option<usize>,
    /// Whether pxed can still use the file.
    pub severity: Severity,
    /// What is wrong, and what to do about it.
    pub text: String,
}

impl Severity {
    /// The word for messages: `warning` or `error`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Problem {
    /// The problem of an empty file. Without rules, pxed serves every machine. Nobody wants that from an empty file, which is
    /// most likely being written at this moment.
    #[must_use]
    pub fn empty_file() -> Self {
        let text = "the file is empty: write it under another name first, then rename it".to_owned();
        Self { line: None, severity: Severity::Error, text }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = self.severity.as_str();
        match self.line {
            Some(line) => write!(f, "line {line}: {severity}: {}", self.text),
            None => write!(f, "{severity}: {}", self.text),
        }
    }
}

/// The line of a byte offset in a text, from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}
