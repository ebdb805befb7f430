//! Programs of this host, with the libraries that they are linked to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;
use super::initramfs::Initramfs;

/// Puts programs into an archive, each at its path there, and the libraries that they are linked to.
///
/// # Errors
/// When a file cannot be read, or there is no `ldd`.
pub fn add(archive: &mut Initramfs, programs: &[(&Path, &str)]) -> Result<(), Error> {
    let mut libraries = BTreeSet::new();
    for (program, to) in programs {
        archive.copy(program, to)?;
        libraries.extend(of(program)?);
    }
    for library in libraries {
        archive.copy(&library, &library.to_string_lossy())?;
    }
    Ok(())
}

/// The libraries of a program and its dynamic loader, at the paths where it looks for them. None for a static one.
///
/// # Errors
/// When there is no `ldd`.
pub fn of(program: &Path) -> Result<Vec<PathBuf>, Error> {
    let listed = Command::new("ldd").arg(program).output().map_err(|_| Error::NoProgram("ldd"))?;
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
