//! The Debian package.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::assets;
use crate::command;

/// What cargo-deb is always told.
const PXED: [&str; 4] = ["deb", "--locked", "--package", "pxed"];

/// Builds the program and its package, with the symbols in one of their own: without them a report of a crash says nothing.
pub(super) fn release(folder: &Path) -> Result<()> {
    let mut build = command::cargo();
    command::run(build.args(["build", "--release", "--locked", "--package", "pxed"]))?;
    assets::write(&command::target_dir().join("release/pxed"))?;
    let mut cargo = command::cargo();
    cargo.args(PXED).args(["--no-build", "--dbgsym", "--output"]).arg(folder);
    command::run(&mut cargo)
}

/// Packages a program that is built already, as it is but for its symbols, into the file `deb`.
///
/// # Errors
/// When cargo-deb fails, or the file cannot be written.
pub fn of_program(program: &Path, deb: &Path) -> Result<()> {
    assets::write(program)?;
    // cargo-deb takes programs from a target folder only.
    let target = deb.with_extension("target");
    let place = target.join("release");
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let copied = fs::copy(program, place.join("pxed")).context("cannot copy the program");
    let mut cargo = command::cargo();
    cargo.args(PXED).args(["--quiet", "--no-build", "--fast", "--strip", "--output"]).arg(deb);
    cargo.env("CARGO_TARGET_DIR", &target);
    let done = copied.map(drop).and_then(|()| command::output(&mut cargo));
    fs::remove_dir_all(&target)?;
    done.map(drop)
}
