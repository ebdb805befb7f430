//! The findings of the report: what the import does with each source line, one finding per line.

use std::fmt;
use std::sync::Arc;

/// Longest part of a source line that the report repeats, in characters.
const TEXT_MAX: usize = 160;

/// The place of a line in the sources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Path of the file, as the command line names it or an include line leads to it.
    pub(super) file: Arc<str>,
    /// Number of the line, from 1; 0 for the file as a whole.
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

/// What the import does with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    /// The new configuration does the same. Holds the keys or rules that do it.
    TakenOver(String),
    /// The new configuration does not need the line: pxed does the same without it, or nothing depends on it. Holds the reason.
    NotNeeded(String),
    /// The line's subject, such as DNS, stays with the program that has it now. Holds the program and the subject.
    Unchanged(String),
    /// The new configuration does not do this. Holds the reason and the remedy.
    NotSupported(String),
    /// The line names a file that does not exist. Holds the name and the remedy.
    Missing(String),
}

impl Disposition {
    /// The disposition of a line that lacks something.
    pub(super) fn incomplete(what: &str) -> Self {
        Self::NotSupported(format!("it needs {what}, and dnsmasq refuses it so; correct the line"))
    }
}

/// A source line and its disposition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) place: Place,
    /// The line without its comment.
    pub(super) text: String,
    pub(super) disposition: Disposition,
}

impl Finding {
    /// Whether the new configuration lacks something that the old configuration did.
    pub(super) fn is_loss(&self) -> bool {
        matches!(self.disposition, Disposition::NotSupported(_) | Disposition::Missing(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, text, disposition } = self;
        let text = shortened(text);
        match disposition {
            Disposition::TakenOver(what) => write!(f, "{place}: taken over: {text} -> {what}"),
            Disposition::NotNeeded(why) => write!(f, "{place}: not needed: {text}: {why}"),
            Disposition::Unchanged(why) => write!(f, "{place}: unchanged: {text}: {why}"),
            Disposition::Missing(what) => write!(f, "{place}: missing: {text}: {what}"),
            Disposition::NotSupported(why) => write!(f, "{place}: not supported: {text}: {why}"),
        }
    }
}

/// Makes a text fit one line of a report or a comment: cuts it to [`TEXT_MAX`] characters, and replaces control characters.
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
