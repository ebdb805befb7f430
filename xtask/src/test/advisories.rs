//! Known faults of what we depend on: RustSec's advisories, whose database is a repository on the network.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use pxe_kit::command;

/// What became of the check. Faults that are known are an error instead.
#[must_use]
pub(super) enum Advisories {
    /// Nothing is known against the crates in `Cargo.lock`.
    Clean,
    /// Nobody has looked: why.
    NotChecked(String),
}

impl Advisories {
    /// Says so if nobody has looked: that must not pass for a check that went well.
    pub(super) fn warn(&self) {
        if let Self::NotChecked(why) = self {
            println!(
                "test: NOT CHECKED: advisories about what we depend on. There is no database of them here: {why}\n\
                 test: NOT CHECKED: run `cargo deny check advisories` where the network is open, before a release"
            );
        }
    }
}

/// Fetches the database and checks; with the one that is here already where the network is closed.
///
/// # Errors
/// When there is an advisory against a crate of ours; cargo-deny says which.
pub(super) fn check() -> Result<Advisories> {
    if let Err(error) = command::output(command::cargo().args(["deny", "fetch", "db"])) {
        let Some(database) = database()? else {
            let why = format!("{error:#}");
            let why = why.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            let advisories = Advisories::NotChecked(why.trim().to_owned());
            advisories.warn();
            return Ok(advisories);
        };
        let mut git = Command::new("git");
        git.arg("-C").arg(database).args(["show", "--no-patch", "--format=%cs", "HEAD"]);
        println!(
            "test: no newer advisories are to be had; those here are of {}",
            command::output(&mut git)?.trim()
        );
    }
    // Nothing must change between the fetch and the check, and cargo-deny wants the crates of all platforms.
    super::step(&["fetch", "--quiet", "--locked"])?;
    super::step(&["deny", "--log-level", "error", "--offline", "check", "advisories"])?;
    Ok(Advisories::Clean)
}

/// The database that an earlier fetch has left: cargo-deny keeps them in `$CARGO_HOME/advisory-dbs`.
fn database() -> Result<Option<PathBuf>> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home);
    let databases = cargo.context("neither CARGO_HOME nor HOME is set")?.join("advisory-dbs");
    let folders = fs::read_dir(databases).into_iter().flatten().flatten().map(|entry| entry.path());
    Ok(folders.into_iter().find(|folder| folder.join(".git/HEAD").is_file()))
}
