//! Unpacks programs of Debian's packages into the user's cache, for packages whose installation would remove or replace
//! others.
//!
//! ```text
//! tree/   the packages
//! lib/    links to the libraries that this host lacks
//! bin/    scripts that start the programs with the libraries of lib/
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt::{Apt, Archive, Source};
use crate::arch::Arch;
use crate::command;

/// Debian 12 and its security updates. Its programs run with the C library of newer distributions (2.36 or later).
pub const SOURCES: &[Source] = &[
    Source { archive: Archive::Main, suite: "bookworm" },
    Source { archive: Archive::Security, suite: "bookworm-security" },
];

/// The folders of Debian's libraries.
pub const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
/// The folders of Debian's programs.
const PROGRAMS: [&str; 4] = ["usr/bin", "usr/sbin", "bin", "sbin"];

/// Unpacks packages and their libraries into a folder, and makes `programs` usable.
///
/// # Errors
/// If Debian's archive is not reachable, or a program or a library is not in the packages.
pub fn make(folder: &Path, packages: &[&str], programs: &[&str]) -> Result<()> {
    let [tree, lists, bin] = ["tree", "apt", "bin"].map(|name| folder.join(name));
    for new in [&tree, &lists, &bin] {
        fs::create_dir_all(new).with_context(|| format!("cannot make {}", new.display()))?;
    }
    Apt::new(&lists, Arch::HOST, SOURCES)?.unpack_with_libraries(packages, &tree)?;
    fs::remove_dir_all(&lists)?;
    for name in programs {
        let program = PROGRAMS.iter().map(|below| tree.join(below).join(name)).find(|file| file.exists());
        let program = program.with_context(|| format!("no package contains the program {name}"))?;
        wrap(&program, folder)?;
    }
    Ok(())
}

/// Makes the script in `bin/` that starts a program of this folder.
pub fn wrap(program: &Path, folder: &Path) -> Result<()> {
    link_missing_libraries(program, folder)?;
    let name = program.file_name().context("a program's name")?;
    let wrapper = folder.join("bin").join(name);
    let program = relative(program, folder);
    let text = format!(
        "#!/bin/sh\n\
         bin=$(dirname \"$(realpath \"$0\")\")\n\
         LD_LIBRARY_PATH=$bin/../lib${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\n\
         export LD_LIBRARY_PATH\n\
         exec \"$bin/{}\" \"$@\"\n",
        program.display()
    );
    fs::write(&wrapper, text).with_context(|| format!("cannot write {}", wrapper.display()))?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Adds links to `lib/` for the libraries that the program needs and this host lacks, until none is missing. Links to all
/// libraries of the tree would break the host's programs that the program starts, because those need the host's libraries.
fn link_missing_libraries(program: &Path, folder: &Path) -> Result<()> {
    let lib = folder.join("lib");
    fs::create_dir_all(&lib)?;
    let places = LIBRARIES.map(|below| folder.join("tree").join(below));
    loop {
        let mut ldd = Command::new("ldd");
        let listed = command::output(ldd.arg(program).env("LD_LIBRARY_PATH", &lib))?;
        let missing: BTreeSet<_> = missing(&listed).collect();
        if missing.is_empty() {
            return Ok(());
        }
        for name in missing {
            let unpacked = places.iter().map(|place| place.join(name)).find(|file| file.exists());
            let unpacked = unpacked.with_context(|| format!("no package contains the library {name}"))?;
            let link = lib.join(name);
            symlink(relative(&unpacked, folder), &link)
                .with_context(|| format!("cannot make {}", link.display()))?;
        }
    }
}

/// The libraries in lines such as `libLLVM.so.22.1 => not found`.
fn missing(listed: &str) -> impl Iterator<Item = &str> {
    listed.lines().filter_map(|line| line.trim().strip_suffix(" => not found"))
}

/// A path relative to a subfolder of `folder`. `folder` itself gets another name when it is complete.
fn relative(path: &Path, folder: &Path) -> PathBuf {
    Path::new("..").join(path.strip_prefix(folder).unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_libraries_are_those_that_were_not_found() {
        let listed =
            "\tlinux-vdso.so.1 (0x1)\n\tlibLLVM.so.22.1 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n";
        assert_eq!(missing(listed).collect::<Vec<_>>(), ["libLLVM.so.22.1"]);
    }

    #[test]
    fn links_survive_the_folders_new_name() {
        let link = relative(Path::new("/c/x.unfinished/tree/usr/bin/rustc"), Path::new("/c/x.unfinished"));
        assert_eq!(link, Path::new("../tree/usr/bin/rustc"));
    }
}
