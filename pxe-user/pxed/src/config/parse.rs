//! Parses a text to [`Raw`], and reports every mistake. serde stops at the first mistake, so this module removes the value that
//! serde reports and parses the rest again.

use std::ops::Range;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::raw::Raw;
use super::{Problem, Severity, line_of};
use pxe_content::suggest::did_you_mean;

/// The most mistakes that are reported at once. A file with more is probably not a `pxed.toml`.
const MISTAKES_MAX: usize = 50;
/// The most known keys that a message lists. A longer list does not help.
const KEYS_MAX: usize = 12;

/// A text, as far as it can be parsed.
pub(super) struct Parsed {
    /// The file without the values that are wrong. `None` if the syntax is wrong, if there are too many mistakes, or if a mistake
    /// cannot be removed.
    pub(super) raw: Option<Raw>,
    pub(super) problems: Vec<Problem>,
    /// The line of each key and table at the top level.
    pub(super) key_lines: Vec<(String, usize)>,
    /// The first lines of the tables from which something was removed. A key that is missing in such a table may have been
    /// removed, so it is not reported as missing.
    pub(super) incomplete: Vec<usize>,
    /// `true` if nothing was removed from the file.
    pub(super) is_whole: bool,
}

/// An entry that was removed.
struct Cut {
    key: String,
    /// The byte offset where the entry's table begins. `None` for the top level of the file.
    table: Option<usize>,
}

/// Parses a text.
pub(super) fn parse(text: &str) -> Parsed {
    let (mut document, errors) = DeTable::parse_recoverable(text);
    let key_lines = document.get_ref().iter();
    let key_lines = key_lines.map(|(key, _)| (key.get_ref().to_string(), line_of(text, key.span().start)));
    let mut parsed = Parsed {
        raw: None,
        problems: Vec::new(),
        key_lines: key_lines.collect(),
        incomplete: Vec::new(),
        is_whole: true,
    };
    if !errors.is_empty() {
        parsed.problems.extend(errors.iter().map(|error| problem(text, error, error.message().to_owned())));
        return parsed;
    }
    while parsed.problems.len() < MISTAKES_MAX {
        let error = match Raw::deserialize(Deserializer::from(document.clone())) {
            Ok(raw) => {
                parsed.raw = Some(raw);
                break;
            }
            Err(error) => error,
        };
        let cut = error.span().and_then(|at| cut(document.get_mut(), &at, None));
        // A field that is missing because it was removed is no mistake of its own.
        let follows = error.message().starts_with("missing field")
            && error.span().is_some_and(|at| parsed.incomplete.contains(&line_of(text, at.start)));
        if !follows {
            let words = words(error.message(), cut.as_ref().map(|cut| &*cut.key));
            parsed.problems.push(problem(text, &error, words));
        }
        parsed.is_whole = false;
        let Some(cut) = cut else { break };
        parsed.incomplete.extend(cut.table.map(|at| line_of(text, at)));
    }
    parsed
}

fn problem(text: &str, error: &toml::de::Error, words: String) -> Problem {
    let line = error.span().map(|span| line_of(text, span.start));
    Problem { line, severity: Severity::Error, text: words }
}

/// Removes the innermost entry that an error is about. `begins` is the offset where `table` begins.
fn cut(table: &mut DeTable<'_>, at: &Range<usize>, begins: Option<usize>) -> Option<Cut> {
    let mut blamed = None;
    for (key, value) in table.iter_mut() {
        if key.span() == *at {
            blamed = Some(key.get_ref().to_string());
            break;
        }
        if let Some(cut) = cut_within(value, at) {
            return Some(cut);
        }
        if covers(&value.span(), at) {
            blamed = Some(key.get_ref().to_string());
            break;
        }
    }
    let key = blamed?;
    table.remove(key.as_str());
    Some(Cut { key, table: begins })
}

fn cut_within(value: &mut Spanned<DeValue<'_>>, at: &Range<usize>) -> Option<Cut> {
    let begins = value.span().start;
    match value.get_mut() {
        DeValue::Table(table) => cut(table, at, Some(begins)),
        DeValue::Array(array) => array.iter_mut().find_map(|value| match value.get_ref() {
            DeValue::Table(_) => cut_within(value, at),
            _ => None,
        }),
        _ => None,
    }
}

fn covers(span: &Range<usize>, at: &Range<usize>) -> bool {
    span.start <= at.start && at.end <= span.end
}

/// serde's message in terms of the file: its keys, and a similar key if there is one.
fn words(message: &str, key: Option<&str>) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((unknown, known)) if message.starts_with("unknown field") => {
            let near = did_you_mean(unknown, known.iter().copied());
            match known.len() {
                _ if !near.is_empty() => format!("there is no key `{unknown}`{near}"),
                0 => format!("there is no key `{unknown}` here"),
                1..=KEYS_MAX => format!("there is no key `{unknown}` here; known are {}", known.join(", ")),
                _ => format!("there is no key `{unknown}`: docs/pxed.toml shows all"),
            }
        }
        Some((missing, _)) if message.starts_with("missing field") => match key {
            Some(key) => format!("`{key}` needs the key `{missing}`"),
            None => format!("the key `{missing}` is missing"),
        },
        _ => key.map_or_else(|| message.to_owned(), |key| format!("`{key}`: {message}")),
    }
}
