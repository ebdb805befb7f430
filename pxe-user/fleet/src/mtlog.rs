//! memtest86+'s log lines on a serial console: `MTLOG ts=<s> ev=<event> key=value ...`.
//!
//! Source: memtest86plus pull request 640, merged in July 2026, and `app/reports.c` there. A line has at most
//! 256 bytes and ends with CR LF. A value is a word, or a text between double quotes. There is no escape for
//! a quote inside a text. That source has these events:
//!
//! | event | keys |
//! |---|---|
//! | start | version, arch |
//! | info | one or two of rtc, cpu, board, sys_serial, board_serial, mem_mb, imc or ram with cas |
//! | spd | slot, size_mb, type, freq, ecc, mfg or mfg_id, sku |
//! | pass_start, pass_end | pass (from 0); errors and status (pass, fail) at the end |
//! | test_start, test_end | test, name; errors of that test at the end |
//! | tick, every 10 s | pass, pass_pct, test, test_pct, errors (all so far) |
//! | error, the first of each test only | type, test, cpu, addr, expect, actual |
//! | done, with `maxpasses=n` only | passes, status; the machine restarts after it |

/// The start of every line. A console server may write its own prefix before it.
const MARK: &str = "MTLOG ";
/// Maximum number of keys that are read from one line. memtest86+ writes at most nine.
const PAIRS_MAX: usize = 24;

/// A parsed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    event: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Line<'a> {
    /// Finds memtest86+'s line in a line of a console. Ignores prefixes, escape sequences and damage around
    /// it. Returns `None` without a time or an event. Drops a value that was cut.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        // Search from the end: if a line was cut, the next one may follow on the same line.
        let start = text.rfind(MARK)? + MARK.len();
        let rest = text.get(start..)?;
        let end = rest.find(|character: char| character.is_control()).unwrap_or(rest.len());
        let mut rest = rest.get(..end)?;
        let mut pairs = Vec::new();
        while let Some((pair, after)) = next(rest) {
            rest = after;
            if let Some(pair) = pair.filter(|_| pairs.len() < PAIRS_MAX) {
                pairs.push(pair);
            }
        }
        let time = pairs.iter().find(|(key, _)| *key == "ts")?.1;
        time.parse::<f64>().ok().filter(|time| time.is_finite() && *time >= 0.0)?;
        let event = pairs.iter().find(|(key, _)| *key == "ev")?.1;
        pairs.retain(|(key, _)| !matches!(*key, "ts" | "ev"));
        Some(Self { event, pairs })
    }

    /// The event's name (key `ev`).
    #[must_use]
    pub fn event(&self) -> &'a str {
        self.event
    }

    /// The value of a key, if the line has it.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
    }

    /// The value of a key as a number, if it is one.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        self.value(key)?.parse().ok()
    }
}

/// The next `key=value`, or `None` in its place if the word is no such pair, and the text after it.
type Next<'a> = (Option<(&'a str, &'a str)>, &'a str);

fn next(text: &str) -> Option<Next<'_>> {
    let text = text.trim_start();
    if text.is_empty() {
        return None;
    }
    let word = text.split_whitespace().next()?;
    let Some((key, value)) = word.split_once('=') else { return Some((None, text.get(word.len()..)?)) };
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !value.starts_with('"') {
        return Some((Some((key, value)).filter(|_| is_key), text.get(word.len()..)?));
    }
    let quoted = text.get(key.len() + 2..)?;
    // A quote ends a text only before a blank or at the end of the line, because names of boards sometimes
    // contain quotes.
    let ends = |at: &usize| quoted.get(at + 1..).is_none_or(|rest| rest.is_empty() || rest.starts_with(' '));
    match quoted.match_indices('"').map(|(at, _)| at).find(ends) {
        Some(end) => Some((Some((key, quoted.get(..end)?)).filter(|_| is_key), quoted.get(end + 1..)?)),
        None => Some((None, "")),
    }
}

/// Whether an error of this type was corrected by ECC. memtest86+ does not count such an error as a failure
/// (`app/error.c`). The two words come from its names for the type (`CECC_ERROR`, `ecc_error`), not from a
/// recorded line.
#[must_use]
pub fn is_corrected(kind: &str) -> bool {
    kind.eq_ignore_ascii_case("cecc") || kind.eq_ignore_ascii_case("ecc")
}

#[cfg(test)]
mod tests;
