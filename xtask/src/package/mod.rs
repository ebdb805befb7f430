//! `cargo xtask package`: what a release is made of.
//!
//! ```text
//! assets    man pages and completions, which the program writes itself
//! deb       the Debian package: cargo-deb, by the table in pxe-user/Cargo.toml and the files in packaging/
//! sbom      what is built into the program and into its kernel side, in CycloneDX's format
//! recipes   what holds for packaging/'s recipes for other systems, as far as a test can see
//! ```

mod assets;
mod deb;
#[cfg(test)]
mod recipes;
mod sbom;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

pub use assets::write as write_assets;
pub use deb::of_program;

use crate::{command, setup};

/// Builds everything into `out/package`, and says what is there.
///
/// # Errors
/// When a tool is missing and cannot be installed, or the program does not compile.
pub fn run() -> Result<()> {
    setup::ensure(setup::PACKAGE)?;
    let folder = command::workspace().join("out/package");
    // Whole or not at all: what an earlier run has left must not lie beside other sums.
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    println!("package: cargo builds the program");
    deb::release(&folder)?;
    sbom::write(&folder)?;
    let names = names(&folder)?;
    let sums = command::output(Command::new("sha256sum").arg("--").args(&names).current_dir(&folder))?;
    fs::write(folder.join("SHA256SUMS"), sums)?;
    for name in &names {
        println!("package: {name}, {:.1} MB", fs::metadata(folder.join(name))?.len() as f64 / 1e6);
    }
    println!("package: in {}; try `apt-get install {}/pxed_*.deb`", folder.display(), folder.display());
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = entries.collect::<Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}
