//! Makes the RPM package by cargo-generate-rpm, from the table in pxe-user/pxed/Cargo.toml.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use pxe_kit::arch::Arch;
use pxe_kit::command;

use super::deb::target_with;

/// Packages a built and stripped program into the file `rpm`. `target/assets` must exist.
///
/// # Errors
/// If cargo-generate-rpm fails, or the file cannot be written.
pub(super) fn pack(program: &Path, arch: Arch, rpm: &Path, compression: &str) -> Result<()> {
    target_with(program, arch, rpm, |target| {
        let tool = command::find("cargo-generate-rpm").context("`cargo-generate-rpm` is not installed")?;
        let mut pack = Command::new(tool);
        pack.args(["--package", "pxe-user/pxed", "--target", arch.target(), "--output"]).arg(rpm);
        // The table names the dependencies, and `program` checks them. The tool's own search uses `ldd`, which works
        // for this host's architecture only.
        pack.args(["--auto-req", "disabled", "--target-dir"]).arg(target);
        pack.args(["--payload-compress", compression, "--source-date", &super::epoch()?]);
        command::output(pack.current_dir(command::workspace())).map(drop)
    })
}
