//! cargo-deny, which checks the licences and sources of what we depend on.

use anyhow::{Context, Result};

use crate::command;

/// The version that `deny.toml` was written for.
const VERSION: &str = "0.20.2";

/// Builds cargo-deny unless it is there: two minutes, once.
///
/// # Errors
/// When the build fails; with the command to run by hand.
pub(super) fn ensure() -> Result<()> {
    if command::find("cargo-deny").is_some() {
        return Ok(());
    }
    println!("setup: cargo builds cargo-deny {VERSION}");
    // Unoptimised: it builds in half the time, and checks us in a second all the same.
    let arguments = ["install", "--quiet", "--debug", "--locked", "cargo-deny", "--version", VERSION];
    command::run(command::cargo().args(arguments))
        .with_context(|| format!("cargo-deny was not built. Run: cargo {}", arguments.join(" ")))
}
