//! Checks the dependencies for RustSec's advisories. Their database is a repository on the network.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use pxe_kit::command;

/// The result of the check. Known advisories are an error instead.
#[must_use]
pub(super) enum Advisories {
    /// There is no advisory about the crates in `Cargo.lock`.
    Clean,
    /// The check was not possible, for this reason.
    NotChecked(String),
}

impl Advisories {
    /// Prints a warning if the check was not possible, so that it does not look like a passed check.
    pub(super) fn warn(&self) {
        if let Self::NotChecked(why) = self {
            println!(
                "test: NOT CHECKED: advisories about dependencies. There is no database: {why}\n\
                 test: NOT CHECKED: before a release, run `cargo deny check advisories` with network access"
            );
        }
    }
}

/// Downloads the database, and checks. Without network, it uses the database of an earlier download.
///
/// # Errors
/// If there is an advisory about a dependency. cargo-deny prints it.
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
            "test: cannot update the advisories; the existing ones are from {}",
            command::output(&mut git)?.trim()
        );
    }
    // Offline, so that nothing changes after the download. cargo-deny needs the crates of all platforms.
    super::step(&["fetch", "--quiet", "--locked"])?;
    super::step(&["deny", "--log-level", "error", "--offline", "check", "advisories"])?;
    Ok(Advisories::Clean)
}

/// The database of an earlier download. cargo-deny keeps databases in `$CARGO_HOME/advisory-dbs`.
fn database() -> Result<Option<PathBuf>> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home);
    let databases = cargo.context("neither CARGO_HOME nor HOME is set")?.join("advisory-dbs");
    let folders = fs::read_dir(databases).into_iter().flatten().flatten().map(|entry| entry.path());
    Ok(folders.into_iter().find(|folder| folder.join(".git/HEAD").is_file()))
}
