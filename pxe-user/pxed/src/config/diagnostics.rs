//! Collects the problems of a file while `check`, `limits` and `rule` turn it into settings, and has the checks that several
//! keys share. It knows no key.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;

use toml::Spanned;

use super::bounds::MIB_MAX;
use super::problem::{Problem, Severity, line_of};
use super::words::Words;
use pxe_proto::dhcp::{Arch, BootFile};

/// The problems so far, and the text for their lines.
pub(super) struct Diagnostics<'t> {
    text: &'t str,
    problems: Vec<Problem>,
}

impl<'t> Diagnostics<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, problems: Vec::new() }
    }

    /// All problems, in the order in which they were found.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// The line where a range of the text begins, from 1.
    pub(super) fn line(&self, span: Range<usize>) -> usize {
        line_of(self.text, span.start)
    }

    pub(super) fn error(&mut self, span: Range<usize>, text: impl Display) {
        self.at(Some(self.line(span)), Severity::Error, text);
    }

    pub(super) fn warning(&mut self, span: Range<usize>, text: impl Display) {
        self.at(Some(self.line(span)), Severity::Warning, text);
    }

    pub(super) fn at(&mut self, line: Option<usize>, severity: Severity, text: impl Display) {
        self.problems.push(Problem { line, severity, text: text.to_string() });
    }

    /// Returns the value, or reports the error and returns `None`.
    pub(super) fn accept<T, E: Display>(&mut self, span: Range<usize>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.error(span, error)).ok()
    }

    /// The value of a word. Reports an unknown word and returns `None`.
    pub(super) fn word<T: Words>(&mut self, key: &str, word: Option<Spanned<String>>) -> Option<T> {
        let word = word?;
        let known: Vec<&str> = T::words().collect();
        let value = T::of_word(word.get_ref());
        let message = format!("{key} = \"{}\": write one of {}", word.get_ref(), known.join(", "));
        self.accept(word.span(), value.ok_or(message))
    }

    /// Bytes of a number of MiB. Reports a number outside of 1 to [`MIB_MAX`] and returns `None`.
    pub(super) fn mib(&mut self, key: &str, value: Option<Spanned<u64>>) -> Option<u64> {
        let value = value?;
        let mib = *value.get_ref();
        if mib == 0 || mib > MIB_MAX {
            self.error(value.span(), format!("{key} = {mib}: write a number of MiB from 1 to {MIB_MAX}"));
            return None;
        }
        Some(mib << 20)
    }

    /// The number. Reports 0, and returns it.
    pub(super) fn at_least_one<T: Copy + PartialEq + From<u8> + Display>(
        &mut self,
        key: &str,
        value: Option<Spanned<T>>,
    ) -> Option<T> {
        let value = value?;
        let number = *value.get_ref();
        if number == T::from(0) {
            self.error(value.span(), format!("{key} = {number}: must be at least 1"));
        }
        Some(number)
    }

    /// The entries of a table by architecture. Reports and leaves out wrong ones.
    pub(super) fn by_arch<T, E: Display>(
        &mut self,
        table: BTreeMap<String, Spanned<String>>,
        value: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<(Arch, T)> {
        let mut all: Vec<(Arch, T)> = Vec::new();
        for (key, text) in table {
            let arch: Option<Arch> = self.accept(text.span(), key.parse());
            let value = self.accept(text.span(), value(text.get_ref()));
            let (Some(arch), Some(value)) = (arch, value) else { continue };
            if all.iter().any(|(known, _)| *known == arch) {
                self.error(text.span(), format!("{arch} is given twice, under two of its names"));
            }
            all.push((arch, value));
        }
        all
    }

    pub(super) fn boot_files(&mut self, table: BTreeMap<String, Spanned<String>>) -> Vec<(Arch, String)> {
        self.by_arch(table, |name| BootFile::new(name).map(|_| name.to_owned()))
    }
}
