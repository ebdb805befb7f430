//! Finds the machine that a line belongs to.

use std::str::FromStr;
use std::sync::Arc;

use regex::Regex;

/// The longest name, in bytes. A longer one is not accepted as a name.
const NAME_MAX: usize = 256;

/// A regular expression that finds the machine's name at the beginning of a line. The first group that takes part is
/// the name; the line begins after the match.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Regex);

/// `[name] text`, and `name: text` as in conserver's unified log.
const CONSERVER: &str = r"^(?:\[([A-Za-z0-9._:-]+)[^\]]*\]|([A-Za-z0-9._-]+):) ?";
/// RFC 3164 and RFC 5424, with or without the priority: syslog daemons leave it out of files.
const SYSLOG: &str =
    r"^(?:<\d{1,3}>)?(?:1 )?(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S+) (\S+) ";

impl Pattern {
    pub(super) fn syslog() -> Self {
        Self(Regex::new(SYSLOG).unwrap_or_else(|error| unreachable!("{error}")))
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pattern = match text {
            "conserver" => CONSERVER,
            "syslog" => SYSLOG,
            pattern => pattern,
        };
        let pattern = Regex::new(pattern).map_err(|error| error.to_string())?;
        if pattern.captures_len() < 2 {
            return Err("it needs a group for the name, for example '^([a-z0-9-]+) '".into());
        }
        Ok(Self(pattern))
    }
}

/// How lines get their machine: the one of `--machine`, or else the first pattern that matches.
#[derive(Debug)]
pub(super) struct Names {
    machine: Option<Arc<str>>,
    patterns: Vec<Pattern>,
}

impl Names {
    pub(super) fn new(machine: Option<&str>, patterns: Vec<Pattern>) -> Self {
        Self { machine: machine.map(Into::into), patterns }
    }

    /// The machine of a line, and the rest of the line after the name. `None` if no pattern matches.
    pub(super) fn whose<'a>(&self, line: &'a str) -> Option<(Arc<str>, &'a str)> {
        if let Some(machine) = &self.machine {
            return Some((Arc::clone(machine), line));
        }
        self.patterns.iter().find_map(|pattern| {
            let captures = pattern.0.captures(line)?;
            let name = captures.iter().skip(1).flatten().next()?.as_str().trim();
            let rest = &line[captures.get(0)?.end()..];
            (1..=NAME_MAX).contains(&name.len()).then(|| (name.into(), rest))
        })
    }

    /// The name in a TCP connection's first line `machine NAME`; `None` if the line is another one.
    pub(super) fn introduced(line: &str) -> Option<Arc<str>> {
        let name = line.strip_prefix("machine ")?.trim();
        (1..=NAME_MAX).contains(&name.len()).then(|| name.into())
    }
}
