//! The tests of unsafe code once more, under valgrind's memcheck: nothing is read that was never written, and nothing used
//! that was freed or is mapped no more. The program is the one that the tests have built already.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::programs::Programs;
use crate::command;

/// Where there is unsafe code that these tests reach without root.
const TESTS: &[&str] = &["boot::sealed::", "nic::", "worker::"];

pub(super) fn run(programs: &Programs) -> Result<()> {
    let program = &programs.daemon()?.path;
    println!("test: valgrind {} {}", program.display(), TESTS.join(" "));
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--error-exitcode=9"]).arg(program).args(TESTS).arg("--test-threads=1");
    let line = command::shown(&valgrind);
    let out = valgrind.current_dir(command::workspace().join("pxe-user")).output();
    let out = out.with_context(|| format!("cannot start `{line}`"))?;
    // The tests tell there which of them has failed.
    let said = String::from_utf8_lossy(&out.stdout);
    let wrong = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "`{line}` ended with {}:\n{said}\n{wrong}", out.status);
    let result =
        said.lines().rfind(|line| line.starts_with("test result: ok. ")).context("it ran no tests")?;
    for name in TESTS {
        let is_there = said.lines().any(|line| line.starts_with(&format!("test {name}")));
        ensure!(is_there, "no test is called {name}... any more");
    }
    println!("{result}");
    Ok(())
}
