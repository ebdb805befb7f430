//! Which packages changed, and which others that concerns.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::Result;

use crate::command;

/// Folders and files, their packages, and those whose unit tests depend on them; the most precise folder first.
const PACKAGES: &[(&str, &[&str])] = &[
    ("pxe-common/", &["pxe-common", "pxed", "pxe-tests"]),
    ("pxe-ebpf/builder/", &["pxe-ebpf-builder", "xtask"]),
    ("pxe-user/", &["pxed", "pxe-tests"]),
    ("xtask/", &["xtask"]),
    ("tests/", &["pxe-tests"]),
    // What xtask's tests read.
    ("packaging/", &["xtask"]),
    ("docs/", &["pxed", "pxe-tests"]),
    ("README.md", &["pxe-tests"]),
    ("CHANGELOG.md", &["pxe-tests"]),
];

/// The packages concerned by what is not committed, or else by the last commit.
pub(super) fn packages() -> Result<BTreeSet<&'static str>> {
    let git = |arguments: &[&str]| -> Result<Vec<String>> {
        let mut git = Command::new("git");
        let text = command::output(git.arg("-C").arg(command::workspace()).args(arguments))?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let mut files = git(&["diff", "--name-only", "HEAD"])?;
    files.extend(git(&["ls-files", "--others", "--exclude-standard"])?);
    if files.is_empty() {
        files = git(&["show", "--name-only", "--format=", "HEAD"])?;
    }
    Ok(concerned(&files))
}

fn concerned(files: &[String]) -> BTreeSet<&'static str> {
    let of_file = |file: &String| PACKAGES.iter().find(|(folder, _)| file.starts_with(folder));
    files.iter().filter_map(of_file).flat_map(|(_, packages)| packages.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_concerns_the_packages_above_it() {
        let of = |file: &str| concerned(&[file.to_owned()]).into_iter().collect::<Vec<_>>();
        assert_eq!(of("pxe-common/src/classify.rs"), ["pxe-common", "pxe-tests", "pxed"]);
        assert_eq!(of("xtask/src/main.rs"), ["xtask"]);
        assert_eq!(of("README.md"), ["pxe-tests"]);
        assert!(of("deny.toml").is_empty());
        assert!(PACKAGES.iter().all(|(place, _)| command::workspace().join(place).exists()));
    }
}
