//! Checks that each file of a release contains exactly the files in the list `packaging/contents.txt`. The tables of
//! the packaging tools do not ensure that: the tools accept an empty folder without an error.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use pxe_kit::arch::Arch;
use pxe_kit::command;

use super::archive;

/// The list of contents.
const LIST: &str = "packaging/contents.txt";
/// The only executable file.
const PROGRAM: &str = "/usr/bin/pxed";

/// A kind of package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Deb,
    Rpm,
    /// The archive for systems without a package.
    Tar,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
            Self::Tar => "tar",
        }
    }
}

/// Checks the contents of a package.
///
/// # Errors
/// If files are missing or unexpected, or have a wrong owner or mode, or the package cannot be read.
pub(super) fn check(kind: Kind, arch: Arch, file: &Path) -> Result<()> {
    let list = command::workspace().join(LIST);
    let list = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let faults = faults(kind, &expected(kind, &list)?, &entries(kind, arch, file)?);
    ensure!(faults.is_empty(), "{} does not match {LIST}: {}", file.display(), faults.join("; "));
    Ok(())
}

/// The paths in the list for a kind of package. The lines are `KINDS PATH`, and a last `*` stands for all files below.
fn expected(kind: Kind, list: &str) -> Result<Vec<String>> {
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut paths = Vec::new();
    for line in lines {
        let (kinds, path) = line.split_once(' ').with_context(|| format!("{LIST}: no path in `{line}`"))?;
        if kinds.split(',').any(|word| word == kind.word()) {
            paths.push(path.trim().to_owned());
        }
    }
    Ok(paths)
}

/// A file or folder of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    path: String,
    /// In the format of `ls`.
    mode: String,
    owner: String,
}

fn faults(kind: Kind, expected: &[String], entries: &[Entry]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for entry in entries {
        let Entry { path, mode, owner } = entry;
        // cargo-deb writes no names of owners, so dpkg shows numbers.
        if !["root/root", "0/0"].contains(&owner.as_str()) {
            faults.push(format!("{path} belongs to {owner}"));
        }
        let is_program = path == PROGRAM;
        let wanted = match mode.chars().next() {
            Some('d') => "drwxr-xr-x",
            _ if is_program => "-rwxr-xr-x",
            _ => "-rw-r--r--",
        };
        if mode != wanted {
            faults.push(format!("{path} is {mode}, not {wanted}"));
        }
        if mode.starts_with('d') {
            continue;
        }
        let fits = |pattern: &&String| {
            pattern.strip_suffix('*').map_or_else(|| path == *pattern, |start| path.starts_with(start))
        };
        match expected.iter().find(fits) {
            Some(pattern) => drop(seen.insert(pattern)),
            None => faults.push(format!("{path} is too much")),
        }
    }
    let missing = expected.iter().filter(|pattern| !seen.contains(pattern));
    faults.extend(missing.map(|pattern| format!("{pattern} is missing in the {}", kind.word())));
    faults
}

/// The files of a package. Those of the archive have the paths of an installation.
fn entries(kind: Kind, arch: Arch, file: &Path) -> Result<Vec<Entry>> {
    let listed = match kind {
        Kind::Deb => command::output(Command::new("dpkg-deb").arg("--contents").arg(file))?,
        Kind::Tar => command::output(Command::new("tar").args(["--list", "--verbose", "--file"]).arg(file))?,
        Kind::Rpm => {
            let format = "[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} 0 0 0 %{FILENAMES}\\n]";
            command::output(
                Command::new("rpm").args(["--query", "--queryformat", format, "--package"]).arg(file),
            )?
        }
    };
    let mut entries = Vec::new();
    for line in listed.lines() {
        // Mode, owner, size, day, time, path.
        let words: Vec<&str> = line.split_whitespace().collect();
        let [mode, owner, _, _, _, path] = words[..] else { bail!("cannot read `{line}`") };
        let path = match kind {
            Kind::Deb | Kind::Rpm => format!("/{}", path.trim_start_matches(['.', '/'])),
            Kind::Tar => installed(path, &archive::name(arch))?,
        };
        entries.push(Entry { path, mode: mode.to_owned(), owner: owner.to_owned() });
    }
    ensure!(!entries.is_empty(), "{} is empty", file.display());
    Ok(entries)
}

/// The path in a package for a path in the archive.
fn installed(path: &str, root: &str) -> Result<String> {
    let below = path.strip_prefix(root).with_context(|| format!("{path} is not in {root}"))?;
    let below = below.trim_start_matches('/');
    Ok(if below.starts_with("etc/") { format!("/{below}") } else { format!("/usr/{below}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(mode: &str, owner: &str, path: &str) -> Entry {
        Entry { path: path.into(), mode: mode.into(), owner: owner.into() }
    }

    #[test]
    fn a_list_has_lines_for_each_kind() {
        let list = "# a comment\n\ndeb,rpm /a\ntar     /b/*\n";
        assert_eq!(expected(Kind::Rpm, list).unwrap(), ["/a"]);
        assert_eq!(expected(Kind::Tar, list).unwrap(), ["/b/*"]);
        assert!(expected(Kind::Tar, "tar").is_err());
    }

    #[test]
    fn everything_that_is_not_as_it_should_be_is_told() {
        let expected = ["/usr/bin/pxed".to_owned(), "/doc/*".to_owned(), "/gone".to_owned()];
        let good = [
            entry("drwxr-xr-x", "root/root", "/doc/"),
            entry("-rwxr-xr-x", "root/root", "/usr/bin/pxed"),
            entry("-rw-r--r--", "root/root", "/doc/a/b"),
        ];
        assert_eq!(faults(Kind::Deb, &expected, &good), ["/gone is missing in the deb"]);
        let bad = [entry("-rwxr-xr-x", "me/root", "/doc/a"), entry("-rw-r--r--", "root/root", "/x")];
        assert_eq!(
            faults(Kind::Deb, &expected[1..2], &bad),
            ["/doc/a belongs to me/root", "/doc/a is -rwxr-xr-x, not -rw-r--r--", "/x is too much"]
        );
    }

    #[test]
    fn files_of_the_archive_are_where_a_package_has_them() {
        assert_eq!(installed("p-1/bin/pxed", "p-1").unwrap(), "/usr/bin/pxed");
        assert_eq!(installed("p-1/etc/pxed/pxed.toml", "p-1").unwrap(), "/etc/pxed/pxed.toml");
        assert!(installed("other/x", "p-1").is_err());
    }
}
