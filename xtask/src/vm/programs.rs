//! What runs in a guest, and the libraries that it is linked to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::initramfs::Initramfs;
use crate::command;

/// The programs of ours in a guest.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The guest's first process: the tests' program `guest`.
    pub guest: PathBuf,
    /// The daemon.
    pub pxed: PathBuf,
}

impl Programs {
    /// Builds both.
    ///
    /// # Errors
    /// When they do not compile.
    pub fn build() -> Result<Self> {
        let mut cargo = command::cargo();
        cargo.args(["build", "--package", "pxed", "--package", "pxe-tests", "--bins"]);
        command::run(&mut cargo)?;
        let folder = command::target_dir().join("debug");
        Ok(Self { guest: folder.join("guest"), pxed: folder.join("pxed") })
    }

    /// Puts them into an archive: `/init`, `/bin/pxed`, and `/bin/ip` of this machine.
    pub(super) fn add_to(&self, archive: &mut Initramfs) -> Result<()> {
        let ip = command::find("ip").context("there is no `ip` here: run `cargo xtask setup`")?;
        add(archive, &[(&self.guest, "init"), (&self.pxed, "bin/pxed"), (&ip, "bin/ip")])
    }
}

/// Puts programs into an archive, and the libraries that they are linked to.
pub(crate) fn add(archive: &mut Initramfs, programs: &[(&Path, &str)]) -> Result<()> {
    let mut libraries = BTreeSet::new();
    for (program, to) in programs {
        archive.copy(program, to)?;
        libraries.extend(self::libraries(program)?);
    }
    for library in libraries {
        let path = library.to_str().context("a library's path is not UTF-8")?;
        archive.copy(&library, path)?;
    }
    Ok(())
}

/// The libraries of a program and its dynamic loader, at the paths where it looks for them. None for a static one.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = Command::new("ldd").arg(program).output().context("cannot start `ldd`")?;
    // For a static program ldd fails: it is no dynamic executable.
    Ok(paths(&String::from_utf8_lossy(&listed.stdout)))
}

/// `libc.so.6 => /lib/libc.so.6 (0x..)`, `/lib64/ld-linux-x86-64.so.2 (0x..)`, `linux-vdso.so.1 (0x..)`.
fn paths(listed: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let place = line.split_once("=>").map_or(line, |(_, place)| place);
        place.split_whitespace().next().filter(|word| word.starts_with('/')).map(PathBuf::from)
    };
    listed.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_at_the_paths_that_ldd_says() {
        let listed =
            "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x2)\n\t/lib64/ld.so.2 (0x3)\n";
        assert_eq!(paths(listed), [PathBuf::from("/lib/x/libc.so.6"), PathBuf::from("/lib64/ld.so.2")]);
        assert!(paths("\tnot a dynamic executable\n").is_empty());
    }
}
