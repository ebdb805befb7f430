//! The RPM package: cargo-generate-rpm, by the table in pxe-user/pxed/Cargo.toml.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use pxe_kit::arch::Arch;
use pxe_kit::command;

use super::deb::target_with;

/// Packages a program that is built already and stripped, into the file `rpm`. `target/assets` must be there.
///
/// # Errors
/// When cargo-generate-rpm fails, or the file cannot be written.
pub(super) fn pack(program: &Path, arch: Arch, rpm: &Path, compression: &str) -> Result<()> {
    target_with(program, arch, rpm, |target| {
        let tool = command::find("cargo-generate-rpm").context("there is no `cargo-generate-rpm` here")?;
        let mut pack = Command::new(tool);
        pack.args(["--package", "pxe-user/pxed", "--target", arch.target(), "--output"]).arg(rpm);
        // What the program needs is checked, and the table says it: the tool asks `ldd`, which reads this host's
        // architecture only.
        pack.args(["--auto-req", "disabled", "--target-dir"]).arg(target);
        pack.args(["--payload-compress", compression, "--source-date", &super::epoch()?]);
        command::output(pack.current_dir(command::workspace())).map(drop)
    })
}
