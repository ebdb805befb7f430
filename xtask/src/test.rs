//! Every test with one command: formatting, lints, licences, then the tests, the privileged ones last.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde_json::Value;

mod advisories;
mod memcheck;

use crate::arch::Arch;
use crate::{command, ebpf, fuzz, image, setup, vm};

/// The crate whose tests need root.
const PRIVILEGED: &str = "pxe-tests";
/// All others that have tests.
const UNPRIVILEGED: [&str; 7] =
    ["--workspace", "--exclude", PRIVILEGED, "--exclude", "pxe-ebpf", "--exclude", "pxe-fuzz"];

/// Sets up, checks, and runs the tests; `arguments` go to each test program, so a name chooses among them.
///
/// # Errors
/// At the first step that fails; but all tests are run before that of a test is told.
pub fn run(arguments: &[OsString]) -> Result<()> {
    setup::ensure(setup::ALL)?;
    step(&["fmt", "--all", "--check"])?;
    step(&["clippy", "--workspace", "--exclude", "pxe-ebpf", "--all-targets", "--", "--deny", "warnings"])?;
    step(&["deny", "--log-level", "error", "check", "licenses", "bans", "sources"])?;
    let advisories = advisories::check()?;
    ebpf::check()?;

    let unprivileged = tests(arguments);
    let programs = build_privileged()?;
    if !command::is_root() && may_need_kernels(arguments) {
        fetch_kernels();
    }
    let mut failed = Vec::new();
    if unprivileged.is_err() {
        failed.push("the unprivileged ones".to_owned());
    }
    // They have a choice of tests of their own.
    if arguments.is_empty() {
        failed.extend(memcheck::run().err().map(|error| format!("unsafe code under valgrind: {error:#}")));
        failed.extend(fuzz::check().err().map(|error| format!("the search for inputs: {error:#}")));
    }
    // Once more: the first time has scrolled away. Not at the end, which is the tests' own closing lines.
    advisories.warn();
    for program in programs {
        println!("     Running {} (as root)", program.display());
        // The machine has few cores and each of these tests wants its own: one after the other.
        let mut test = command::as_root("env")?;
        test.args(kept_environment()).arg(&program).args(arguments);
        if !arguments.iter().any(|a| a.to_string_lossy().starts_with("--test-threads")) {
            test.arg("--test-threads=1");
        }
        test.current_dir(command::workspace().join("tests"));
        if command::run(&mut test).is_err() {
            failed.push(program.display().to_string());
        }
    }
    ensure!(failed.is_empty(), "tests failed: {}", failed.join(", "));
    Ok(())
}

fn step(arguments: &[&str]) -> Result<()> {
    println!("test: cargo {}", arguments.join(" "));
    command::run(command::cargo().args(arguments))
}

fn tests(arguments: &[OsString]) -> Result<()> {
    println!("test: cargo test (unprivileged)");
    let mut cargo = command::cargo();
    command::run(cargo.args(["test", "--no-fail-fast"]).args(UNPRIVILEGED).arg("--").args(arguments))
}

/// Whether the tests with guests are among those that are wanted.
fn may_need_kernels(arguments: &[OsString]) -> bool {
    let names = |argument: &OsString| {
        let argument = argument.to_string_lossy();
        ["kernel", "memory", "package"].iter().any(|word| argument.contains(word))
    };
    arguments.is_empty() || arguments.iter().any(names)
}

/// What guests boot, fetched and built as the user that we are: as root the tests would fill this user's cache with
/// files of root's. Where they cannot be had it is the tests that fail, and only those which need them.
fn fetch_kernels() {
    for kernel in vm::KERNELS {
        if let Err(error) = vm::fetch(kernel) {
            println!("test: {error:#}");
        }
    }
    for arch in Arch::ALL.into_iter().filter(|&arch| arch != vm::HOST) {
        if let Err(error) = vm::Programs::build(arch) {
            println!("test: {error:#}");
        }
    }
    for prepared in [image::prepare(), vm::fetch_system().map(drop), vm::fetch_base().map(drop)] {
        if let Err(error) = prepared {
            println!("test: {error:#}");
        }
    }
}

/// Builds the privileged tests as the user that we are, and tells which programs they are.
fn build_privileged() -> Result<Vec<PathBuf>> {
    println!("test: cargo test ({PRIVILEGED})");
    // The daemon that they start lies beside them.
    command::run(command::cargo().args(["build", "--quiet", "--package", "pxed"]))?;
    let mut programs = test_programs(&["--package", PRIVILEGED])?;
    // The library of helpers first: it has next to no tests, and the closing lines shall be of those that matter.
    programs.sort_by_key(|p| !p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("pxe_tests-")));
    Ok(programs)
}

/// Builds tests, and tells which programs they are.
fn test_programs(which: &[&str]) -> Result<Vec<PathBuf>> {
    let messages = command::messages(command::cargo().args(["test", "--no-run"]).args(which))?;
    Ok(messages.iter().filter_map(program).collect())
}

/// The test program that one of cargo's messages tells of.
fn program(message: &Value) -> Option<PathBuf> {
    (message["profile"]["test"] == true).then(|| command::artifact(message)).flatten()
}

/// What sudo would drop and tests need: where cargo is and builds, what they shall print.
pub(crate) fn kept_environment() -> impl Iterator<Item = OsString> {
    let kept = [
        "PATH",
        "HOME",
        "XDG_CACHE_HOME",
        "CARGO",
        "CARGO_HOME",
        "CARGO_TARGET_DIR",
        "RUSTUP_HOME",
        "RUST_BACKTRACE",
        "PXED_RELEASE",
        "CI",
    ];
    kept.into_iter().filter_map(|name| {
        let mut assignment = OsString::from(format!("{name}="));
        assignment.push(std::env::var_os(name)?);
        Some(assignment)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_test_programs_are_run() {
        let artifact = |test: bool, executable: Option<&str>| json!({ "reason": "compiler-artifact", "profile": { "test": test }, "executable": executable });
        assert_eq!(program(&artifact(true, Some("/t/boot-1"))), Some(PathBuf::from("/t/boot-1")));
        assert_eq!(program(&artifact(false, Some("/t/pxed"))), None);
        assert_eq!(program(&artifact(true, None)), None);
        assert_eq!(program(&json!({})), None);
    }
}
