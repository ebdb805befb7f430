//! Counts the results of tests and checks, and their times.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Result, ensure};
use pxe_kit::clock;

/// The number of slowest parts to print.
const SLOWEST: usize = 10;

/// The counts, the failures and the times of a run.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    passed: usize,
    skipped: usize,
    failed: Vec<String>,
    times: Vec<(Duration, String)>,
}

impl Outcomes {
    /// Runs a step that later ones need, and records its time.
    pub(super) fn time<T>(&mut self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = clock::now();
        let done = work();
        self.times.push((start.elapsed(), what.to_owned()));
        done
    }

    /// Runs a check, and records its result and its time. A failure is reported at the end.
    pub(super) fn check(&mut self, what: &str, work: impl FnOnce() -> Result<()>) {
        match self.time(what, work) {
            Ok(()) => self.passed += 1,
            Err(error) => self.fail(what, error),
        }
    }

    /// Counts tests that passed, and tests that were skipped.
    pub(super) fn count(&mut self, passed: usize, skipped: usize) {
        self.passed += passed;
        self.skipped += skipped;
    }

    pub(super) fn took(&mut self, what: &str, time: Duration) {
        self.times.push((time, what.to_owned()));
    }

    pub(super) fn fail(&mut self, what: &str, error: impl Display) {
        println!("FAILED: {what}: {error:#}");
        self.failed.push(what.to_owned());
    }

    /// Prints the slowest parts, the failures, and as the last line, which CI reads, `N passed, N failed, N skipped`.
    pub(super) fn finish(mut self) -> Result<()> {
        println!("\nthe slowest:");
        self.times.sort_unstable_by(|one, two| two.cmp(one));
        for (time, what) in self.times.iter().take(SLOWEST) {
            println!("  {:7.1} s  {what}", time.as_secs_f64());
        }
        if !self.failed.is_empty() {
            println!("\nfailed:");
            self.failed.iter().for_each(|what| println!("  {what}"));
        }
        println!("\n{}", self.line());
        ensure!(self.failed.is_empty(), "{} failed: {}", self.failed.len(), self.failed.join(", "));
        Ok(())
    }

    fn line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped)
    }
}

/// The numbers of passed, failed and ignored tests in libtest's last line.
pub(super) fn libtest(output: &str) -> Option<[usize; 3]> {
    let line = output.lines().rfind(|line| line.starts_with("test result: "))?;
    let number = |word: &str| {
        let part = line.split(['.', ';']).find_map(|part| part.trim().strip_suffix(word))?;
        part.trim().parse().ok()
    };
    Some([number("passed")?, number("failed")?, number("ignored")?])
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn libtests_numbers_are_read() {
        let output = "test a ... ok\n\ntest result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.58s\n\n";
        assert_eq!(libtest(output), Some([12, 0, 1]));
        let output = "test result: FAILED. 77 passed; 7 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.58s";
        assert_eq!(libtest(output), Some([77, 7, 0]));
        assert_eq!(libtest("test a ... ok\n"), None);
    }

    #[test]
    fn a_run_with_a_failure_fails() {
        let mut outcomes = Outcomes::default();
        outcomes.count(3, 1);
        outcomes.check("right", || Ok(()));
        assert_eq!(outcomes.line(), "4 passed, 0 failed, 1 skipped");
        outcomes.check("wrong", || bail!("it is"));
        assert_eq!(outcomes.line(), "4 passed, 1 failed, 1 skipped");
        assert!(outcomes.finish().is_err());
    }
}
