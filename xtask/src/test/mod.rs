//! `cargo xtask test`: formatting, lints, licences, the kernel objects, then all tests, the privileged ones last. And `cargo
//! xtask check`, for a single change.
//!
//! ```text
//! programs   builds all tests at once, and lists their programs
//! schedule   runs them: unprivileged programs one by one, privileged tests two at a time if they do not disturb each other
//! outcome    counts results and times, and prints the last lines
//! changed    the packages whose unit tests `cargo xtask check` runs
//! advisories, memcheck   checks that are no test programs
//! ```

use anyhow::Result;
use pxe_guests::image;
use pxe_kit::arch::Arch;
use pxe_kit::{clock, command};

mod advisories;
mod changed;
mod memcheck;
mod outcome;
mod programs;
mod schedule;

use crate::{ebpf, setup};
use outcome::Outcomes;
use programs::Programs;

/// Sets up, checks, and runs the tests. With names, it runs only the tests with one of the names in their own or their
/// program's name, and no other checks. `long` adds the ignored tests.
///
/// # Errors
/// At the first check that fails. Tests are different: all of them run before the failure of one is an error.
pub fn run(names: &[String], long: bool) -> Result<()> {
    setup::ensure(setup::ALL)?;
    let mut outcomes = Outcomes::default();
    if names.is_empty() {
        outcomes.time("formatting", || step(&["fmt", "--all", "--check"]))?;
        outcomes.time("lints", lint)?;
        outcomes.time("licences", || {
            step(&["deny", "--log-level", "error", "check", "licenses", "bans", "sources"])
        })?;
        outcomes.time("kernel objects", ebpf::check)?;
    }
    let advisories = names.is_empty().then(advisories::check).transpose()?;
    let programs = outcomes.time("building the tests", Programs::build)?;
    let wanted = programs.wanted(names)?;
    if wanted.need_guests() {
        outcomes.time("downloading and building the parts of guests", || {
            prepare_guests();
            Ok(())
        })?;
    }
    schedule::run_unprivileged(&wanted, &mut outcomes);
    if names.is_empty() {
        outcomes.check("documentation's examples", || {
            step(&[&["test", "--quiet", "--doc"], UNPRIVILEGED].concat())
        });
        outcomes.check("unsafe code under valgrind", || memcheck::run(&programs));
        outcomes.check("search for inputs that break something", pxe_search::check);
    }
    schedule::run_privileged(&wanted, long, &mut outcomes)?;
    if let Some(advisories) = advisories {
        advisories.warn();
    }
    outcomes.finish()
}

/// Checks a change: formatting, lints, and the unit tests of the changed packages and of those that use them. Installs
/// nothing.
///
/// # Errors
/// At the first failure.
pub fn check() -> Result<()> {
    let start = clock::now();
    step(&["fmt", "--all", "--check"])?;
    lint()?;
    let packages = changed::packages()?;
    if packages.is_empty() {
        println!("check: the change concerns no package: no unit tests");
    } else {
        let packages = packages.iter().flat_map(|package| ["--package", package]);
        step(&["test", "--quiet", "--lib"].into_iter().chain(packages).collect::<Vec<_>>())?;
    }
    println!("check: passed in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// cargo's options for the packages whose tests need no root.
const UNPRIVILEGED: &[&str] =
    &["--workspace", "--exclude", "pxe-tests", "--exclude", "pxe-ebpf", "--exclude", "pxe-fuzz"];

fn lint() -> Result<()> {
    step(&[
        "clippy",
        "--workspace",
        "--exclude",
        "pxe-ebpf",
        "--all-targets",
        "--quiet",
        "--",
        "--deny",
        "warnings",
    ])
}

fn step(arguments: &[&str]) -> Result<()> {
    println!("test: cargo {}", arguments.join(" "));
    command::run(command::cargo().args(arguments))
}

/// Downloads and builds the parts of guests and clean systems before the tests, so that no compiler runs beside the
/// tests, and the user's cache gets no files of root. Errors are only printed here: the tests that need a missing part
/// fail later.
fn prepare_guests() {
    for kernel in pxe_guests::KERNELS {
        if let Err(error) = pxe_guests::fetch(kernel) {
            println!("test: {error:#}");
        }
    }
    for arch in Arch::ALL.into_iter().filter(|&arch| arch != Arch::HOST) {
        if let Err(error) = pxe_guests::Programs::build(arch) {
            println!("test: {error:#}");
        }
    }
    for suite in pxe_guests::SUITES {
        if let Err(error) = pxe_guests::fetch_root(suite) {
            println!("test: {error:#}");
        }
    }
    for prepared in
        [image::kernel().map(drop), pxe_guests::fetch_system().map(drop), pxe_guests::fetch_base().map(drop)]
    {
        if let Err(error) = prepared {
            println!("test: {error:#}");
        }
    }
}
