//! Debian systems made from its packages by mmdebstrap.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pxe_kit::apt::{Archive, KEYRING};
use pxe_kit::{cache, command};

use super::kernel::place;

/// Debian's stable release. What a newer host builds may ask for newer libraries than it has.
pub(super) const SUITE: &str = "trixie";
/// The smallest system's name in the cache: another one when what is in it changes.
const BASE: &str = "base-trixie-1";

/// The clean systems' names, which the suite's follows: others when what is in them changes.
const ROOT: &str = "root-1";
/// systemd's small tool that makes users for packages, without the rest of systemd.
const SYSUSERS: &str = "systemd-standalone-sysusers";

/// Takes the smallest system from the cache, a tar file; makes it before that if it is not there, which takes a minute and
/// root.
///
/// # Errors
/// When Debian's archive cannot be reached, or mmdebstrap is missing.
pub fn fetch_base() -> Result<PathBuf> {
    let folder = cache::folder(&place(BASE), |folder| make(&folder.join("base.tar"), &[]));
    Ok(folder.with_context(|| format!("cannot make the smallest Debian {SUITE}"))?.join("base.tar"))
}

/// Debian's suites that the tests try clean systems of.
pub const SUITES: [&str; 3] = ["bookworm", "trixie", "testing"];

/// Takes a clean system of a suite from the cache, a tar file: the smallest one with what makes users for packages. It is
/// made before that if it is not there, which takes a minute and root.
///
/// # Errors
/// When Debian's archive cannot be reached, or mmdebstrap is missing.
pub fn fetch_root(suite: &'static str) -> Result<PathBuf> {
    let options = [format!("--include={SYSUSERS}")];
    let name = place(&format!("{ROOT}-{suite}"));
    let folder = cache::folder(&name, |folder| make_suite(suite, &folder.join("root.tar"), &options));
    Ok(folder.with_context(|| format!("cannot make a clean Debian {suite}"))?.join("root.tar"))
}

/// Makes a system without documentation into `target`, whose folder is made before. The options are mmdebstrap's.
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
    // A mirror that lags has lists of testing that have run out; nothing is installed from this system.
    make.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
    for left_out in ["doc", "locale", "man"] {
        make.arg(format!("--dpkgopt=path-exclude=/usr/share/{left_out}/*"));
    }
    command::output(make.args(options).arg(suite).arg(target).arg(&source)).map(drop)
}
