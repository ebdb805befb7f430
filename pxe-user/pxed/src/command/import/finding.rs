//! What became of each line that was read: one finding a line, in the words of the report.

use std::fmt;
use std::sync::Arc;

/// Longest part of a source line that the report repeats, in characters.
const TEXT_MAX: usize = 160;

/// Where a line is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The file, as it was named or found.
    pub(super) file: Arc<str>,
    /// The line in it, from 1; 0 for the file as a whole.
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The new configuration does the same; with this.
    TakenOver(String),
    /// pxed does the same without it, or nothing depends on it; the reason.
    NotNeeded(String),
    /// The line's subject stays with the program that has it now.
    Unchanged(String),
    /// The new configuration does not do this; the reason and the remedy.
    NotSupported(String),
    /// It names a file that is not there; which, and the remedy.
    Missing(String),
}

/// A line and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) place: Place,
    /// The line without its comment.
    pub(super) text: String,
    pub(super) verdict: Verdict,
}

impl Finding {
    /// Whether something that the old configuration did is lost.
    pub(super) fn is_loss(&self) -> bool {
        matches!(self.verdict, Verdict::NotSupported(_) | Verdict::Missing(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, text, verdict } = self;
        let text = shortened(text);
        match verdict {
            Verdict::TakenOver(what) => write!(f, "{place}: taken over: {text} -> {what}"),
            Verdict::NotNeeded(why) => write!(f, "{place}: not needed: {text}: {why}"),
            Verdict::Unchanged(why) => write!(f, "{place}: unchanged: {text}: {why}"),
            Verdict::Missing(what) => write!(f, "{place}: missing: {text}: {what}"),
            Verdict::NotSupported(why) => write!(f, "{place}: not supported: {text}: {why}"),
        }
    }
}

/// A text that fits a line of a report or of a comment: short, and without control characters.
pub(super) fn shortened(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(TEXT_MAX)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if text.chars().nth(TEXT_MAX).is_some() {
        short.push_str("...");
    }
    short
}
