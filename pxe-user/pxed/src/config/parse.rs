//! From a text to [`Raw`], with every mistake: serde ends at the first, so the value that it blames is cut out and the rest read
//! again.

use std::ops::Range;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::raw::Raw;
use super::{Problem, Severity, line_of};
use pxe_content::suggest::did_you_mean;

/// Most mistakes that one reading reports. A file with more is another kind of file.
const MISTAKES_MAX: usize = 50;
/// A list of more keys than these helps nobody.
const KEYS_MAX: usize = 12;

/// A text as far as it could be read.
pub(super) struct Parsed {
    /// The file without what is wrong in it. `None` if its syntax is wrong.
    pub(super) raw: Option<Raw>,
    pub(super) problems: Vec<Problem>,
    /// The lines of the keys and tables at the top.
    pub(super) key_lines: Vec<(String, usize)>,
    /// Lines of the tables from which something was cut: that a key is missing there is no mistake of its own.
    pub(super) incomplete: Vec<usize>,
    /// Whether anything was cut, at any place.
    pub(super) is_whole: bool,
}

/// What was cut out.
struct Cut {
    key: String,
    /// Where the table begins in which it was; `None` for the file itself.
    table: Option<usize>,
}

/// Reads a text.
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
        // What is missing because it was cut out is no mistake of its own.
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

/// Takes the innermost entry out that an error is about.
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

/// What serde says, in the words of the file.
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
