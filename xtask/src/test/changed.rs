//! Finds the packages that a change concerns: the changed ones, and those that use them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use pxe_kit::command;
use serde_json::Value;

/// Files outside packages, and the packages whose tests read them.
const READ: &[(&str, &[&str])] = &[
    ("packaging/", &["pxe-packaging"]),
    ("docs/", &["pxed", "pxe-tests"]),
    ("monitoring/", &["pxe-web"]),
    ("tests/packets/", &["pxe-proto", "pxe-engine", "pxe-load", "pxe-properties", "pxe-tests"]),
    ("tests/ebpf/", &["pxe-load"]),
    ("ARCHITECTURE.md", &["pxe-tests"]),
    ("CONTRIBUTING.md", &["pxe-tests"]),
    ("README.md", &["pxe-tests"]),
    ("CHANGELOG.md", &["pxe-tests"]),
];
/// Packages without unit tests: one is compiled for the kernel, the other for the fuzz search only.
const WITHOUT: &[&str] = &["pxe-ebpf", "pxe-fuzz"];

/// The packages that uncommitted changes concern, or the last commit if there are none.
pub(super) fn packages() -> Result<BTreeSet<String>> {
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
    Ok(concerned(&workspace()?, &files))
}

/// A package of the workspace.
struct Package {
    name: String,
    /// The folder, relative to the workspace.
    folder: String,
    /// The packages of the workspace that it uses, also in tests.
    uses: Vec<String>,
}

fn workspace() -> Result<Vec<Package>> {
    let mut cargo = command::cargo();
    let text = command::output(cargo.args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().context("cargo knows no packages")?;
    packages.iter().map(package).collect::<Option<_>>().context("cannot parse cargo's metadata")
}

fn package(metadata: &Value) -> Option<Package> {
    let folder = Path::new(metadata["manifest_path"].as_str()?).parent()?;
    let folder = folder.strip_prefix(command::workspace()).ok()?;
    let uses = metadata["dependencies"].as_array()?.iter().filter(|used| used["path"].is_string());
    Some(Package {
        name: metadata["name"].as_str()?.to_owned(),
        folder: format!("{}/", folder.to_str()?),
        uses: uses.filter_map(|used| Some(used["name"].as_str()?.to_owned())).collect(),
    })
}

fn concerned(workspace: &[Package], files: &[String]) -> BTreeSet<String> {
    let mut concerned = BTreeSet::new();
    for file in files {
        let inside = workspace.iter().filter(|package| file.starts_with(&package.folder));
        concerned
            .extend(inside.max_by_key(|package| package.folder.len()).map(|package| package.name.clone()));
        let read = READ.iter().filter(|(place, _)| file.starts_with(place));
        concerned.extend(read.flat_map(|(_, packages)| packages.iter().map(|name| (*name).to_owned())));
    }
    loop {
        let above =
            workspace.iter().filter(|package| package.uses.iter().any(|used| concerned.contains(used)));
        let above: Vec<String> = above.map(|package| package.name.clone()).collect();
        let before = concerned.len();
        concerned.extend(above);
        if concerned.len() == before {
            break;
        }
    }
    concerned.retain(|name| !WITHOUT.contains(&name.as_str()));
    concerned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_concerns_the_packages_above_it() {
        let workspace = workspace().unwrap();
        let of = |file: &str| concerned(&workspace, &[file.to_owned()]).into_iter().collect::<Vec<_>>();
        let web = of("pxe-user/web/src/lib.rs");
        assert_eq!(web, ["pxe-properties", "pxe-scale", "pxe-tests", "pxe-web", "pxed"]);
        let proto = of("pxe-user/proto/src/mac.rs");
        assert!(web.iter().all(|name| proto.contains(name)) && proto.contains(&"pxe-engine".to_owned()));
        assert!(!proto.contains(&"pxe-nic".to_owned()), "{proto:?}");
        assert_eq!(of("README.md"), ["pxe-tests"]);
        assert!(of("tests/packets/dhcp/README.md").contains(&"pxe-proto".to_owned()));
        assert!(of("deny.toml").is_empty());
        assert!(READ.iter().all(|(place, _)| command::workspace().join(place).exists()));
    }
}
