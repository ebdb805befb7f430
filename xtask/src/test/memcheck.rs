//! Runs the tests of unsafe code under valgrind's memcheck, which finds reads of uninitialised memory, and uses of freed or
//! unmapped memory. The programs are those of the ordinary test build.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use pxe_kit::command;

use super::programs::Programs;

/// The libraries whose unsafe code can be tested without root, with the starts of the names of their tests.
const TESTS: &[(&str, &str)] =
    &[("pxe_content", "boot::sealed::"), ("pxe_nic", ""), ("pxe_engine", "worker::")];

pub(super) fn run(programs: &Programs) -> Result<()> {
    TESTS.iter().try_for_each(|(library, begin)| one(programs, library, begin))
}

fn one(programs: &Programs, library: &str, begin: &str) -> Result<()> {
    let program = programs.unit_tests(library)?;
    println!("test: valgrind {} {begin}", program.path.display());
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--error-exitcode=9"]).arg(&program.path).arg("--test-threads=1");
    if !begin.is_empty() {
        valgrind.arg(begin);
    }
    let line = command::shown(&valgrind);
    let out = valgrind.current_dir(&program.folder).output();
    let out = out.with_context(|| format!("cannot start `{line}`"))?;
    // The standard output names the test that has failed.
    let said = String::from_utf8_lossy(&out.stdout);
    let wrong = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "`{line}` ended with {}:\n{said}\n{wrong}", out.status);
    let result =
        said.lines().rfind(|line| line.starts_with("test result: ok. ")).context("no tests were run")?;
    let is_there =
        said.lines().any(|line| line.starts_with(&format!("test {begin}")) && line.ends_with(" ok"));
    ensure!(is_there, "{library} has no test that starts with `{begin}`");
    println!("{result}");
    Ok(())
}
