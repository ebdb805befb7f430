//! Makes Debian systems from packages with mmdebstrap, and keeps them in the cache.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pxe_kit::apt::{Archive, KEYRING};
use pxe_kit::{cache, command};

use super::kernel::place;

/// Debian's stable release. Programs that a newer host builds may need newer libraries than it has.
pub(super) const SUITE: &str = "trixie";
/// The smallest system's name in the cache. Change the number if its contents change.
const BASE: &str = "base-trixie-1";

/// The start of the clean systems' names; the suite follows. Change the number if their contents change.
const ROOT: &str = "root-1";
/// The package with systemd's tool that makes users for packages, without the rest of systemd.
const SYSUSERS: &str = "systemd-standalone-sysusers";

/// Takes the smallest system from the cache, a tar file. The first call makes it, which needs a minute and root.
///
/// # Errors
/// If Debian's archive is not reachable, or mmdebstrap is missing.
pub fn fetch_base() -> Result<PathBuf> {
    let folder = cache::folder(&place(BASE), |folder| make(&folder.join("base.tar"), &[]));
    Ok(folder.with_context(|| format!("cannot make the smallest Debian {SUITE}"))?.join("base.tar"))
}

/// Debian's suites that the tests use as clean systems.
pub const SUITES: [&str; 3] = ["bookworm", "trixie", "testing"];

/// Takes a clean system of a suite from the cache, a tar file: the smallest system, with the tool that makes users for
/// packages. The first call makes it, which needs a minute and root.
///
/// # Errors
/// If Debian's archive is not reachable, or mmdebstrap is missing.
pub fn fetch_root(suite: &'static str) -> Result<PathBuf> {
    let options = [format!("--include={SYSUSERS}")];
    let name = place(&format!("{ROOT}-{suite}"));
    let folder = cache::folder(&name, |folder| make_suite(suite, &folder.join("root.tar"), &options));
    Ok(folder.with_context(|| format!("cannot make a clean Debian {suite}"))?.join("root.tar"))
}

/// Makes a system without documentation in `target`, and the folder of `target`. `options` are those of mmdebstrap.
pub(super) fn make(target: &Path, options: &[String]) -> Result<()> {
    make_suite(SUITE, target, options)
}

fn make_suite(suite: &str, target: &Path, options: &[String]) -> Result<()> {
    if let Some(folder) = target.parent().filter(|folder| !folder.exists()) {
        fs::create_dir_all(folder)?;
    }
    let source = format!("deb [signed-by={KEYRING}] {} {suite} main", Archive::Main.address()?);
    let mut make = command::as_root("mmdebstrap")?;
    make.args(["--quiet", "--variant=minbase", "--architectures=amd64"]);
    // The lists of testing may have expired on a slow mirror. That does no harm: nothing is installed from this system.
    make.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
    for left_out in ["doc", "locale", "man"] {
        make.arg(format!("--dpkgopt=path-exclude=/usr/share/{left_out}/*"));
    }
    command::output(make.args(options).arg(suite).arg(target).arg(&source)).map(drop)
}
