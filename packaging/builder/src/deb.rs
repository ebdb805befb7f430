//! Makes the Debian package by cargo-deb, from the table in pxe-user/pxed/Cargo.toml.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use pxe_kit::arch::Arch;
use pxe_kit::command;

use super::assets;

/// Packages a built program of this host's architecture, without its symbols, into the file `deb`.
///
/// # Errors
/// If cargo-deb fails, or the file cannot be written.
pub fn of_program(program: &Path, deb: &Path) -> Result<()> {
    let _lock = assets::lock()?;
    assets::write(program)?;
    pack(program, Arch::HOST, deb, &["--fast", "--strip"])
}

/// Packages a program into the file `deb`. `target/assets` must exist.
pub(super) fn pack(program: &Path, arch: Arch, deb: &Path, options: &[&str]) -> Result<()> {
    target_with(program, arch, deb, |target| {
        let mut cargo = command::cargo();
        cargo.args(["deb", "--locked", "--package", "pxed", "--quiet", "--no-build"]).args(options);
        cargo.args(["--target", arch.target(), "--output"]).arg(deb);
        cargo.env("CARGO_TARGET_DIR", target).env("SOURCE_DATE_EPOCH", super::epoch()?);
        command::output(&mut cargo).map(drop)
    })
}

/// Makes a target folder beside `package` with the program only, because the packaging tools take programs from such a
/// folder.
pub(super) fn target_with(
    program: &Path,
    arch: Arch,
    package: &Path,
    pack: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let mut target = package.as_os_str().to_owned();
    target.push(".target");
    let target = Path::new(&target);
    let place = target.join(arch.target()).join("release");
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let copied = fs::copy(program, place.join("pxed")).context("cannot copy the program");
    let done = copied.map(drop).and_then(|()| pack(target));
    fs::remove_dir_all(target)?;
    done
}
