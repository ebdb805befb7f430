//! Builds all test programs with one cargo command, so that nothing is compiled twice, and lists their tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use pxe_kit::command;
use serde_json::Value;

/// The package whose tests need root.
const PRIVILEGED: &str = "pxe-tests";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// The target's name: the library's name for unit tests, the file's name for others.
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// The package's folder, in which cargo would start the program.
    pub(super) folder: PathBuf,
    pub(super) needs_root: bool,
    /// The selected tests. None selects all.
    pub(super) tests: Option<Vec<String>>,
}

/// The test programs of the workspace, or a selection.
pub(super) struct Programs(pub(super) Vec<Program>);

impl Programs {
    /// Builds all tests, and the programs that they start.
    pub(super) fn build() -> Result<Self> {
        println!("test: cargo builds all tests");
        // Without `--package`, cargo builds the default members, as for all builds of xtask. Other packages would
        // change the features of shared dependencies, and rebuild those.
        let mut cargo = command::cargo();
        let messages = command::messages(cargo.args(["test", "--no-run", "--quiet"]))?;
        Ok(Self(messages.iter().filter_map(program).collect()))
    }

    /// The unit tests of a library of the workspace.
    pub(super) fn unit_tests(&self, library: &str) -> Result<&Program> {
        let program = self.0.iter().find(|program| program.name == library);
        program.with_context(|| format!("cargo built no unit tests of {library}"))
    }

    /// The programs with tests that match one of `names`, or all programs if there are no names.
    pub(super) fn wanted(&self, names: &[String]) -> Result<Self> {
        if names.is_empty() {
            return Ok(Self(self.0.clone()));
        }
        let mut wanted = Vec::new();
        for program in &self.0 {
            let tests = program.list(false)?;
            let of_program = names.iter().any(|name| program.name.contains(name.as_str()));
            let is_wanted =
                |test: &String| of_program || names.iter().any(|name| test.contains(name.as_str()));
            let tests: Vec<_> = tests.into_iter().filter(is_wanted).collect();
            if !tests.is_empty() {
                wanted.push(Program { tests: Some(tests), ..program.clone() });
            }
        }
        if wanted.is_empty() {
            bail!("no test and no test program has {} in its name", names.join(" or "));
        }
        Ok(Self(wanted))
    }

    /// Whether one of the programs boots guests.
    pub(super) fn need_guests(&self) -> bool {
        self.0.iter().any(|program| {
            ["kernels", "memory", "package", "deployment", "fleet", "release", "setup"]
                .contains(&&*program.name)
        })
    }
}

impl Program {
    /// The names of all tests, or of the ignored ones.
    pub(super) fn list(&self, ignored: bool) -> Result<Vec<String>> {
        let mut list = Command::new(&self.path);
        list.args(["--list", "--format", "terse"]).current_dir(&self.folder);
        if ignored {
            list.arg("--ignored");
        }
        Ok(names(&command::output(&mut list)?))
    }
}

/// The names in the lines `NAME: test`.
fn names(listed: &str) -> Vec<String> {
    listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// The test program in one of cargo's messages, if any.
fn program(message: &Value) -> Option<Program> {
    let path = command::artifact(message).filter(|_| message["profile"]["test"] == true)?;
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    let needs_root = package(message["package_id"].as_str()?) == PRIVILEGED;
    let name = message["target"]["name"].as_str()?.to_owned();
    Some(Program { name, path, folder, needs_root, tests: None })
}

/// The package's name in cargo's identifier: `path+file:///FOLDER#NAME@VERSION`, or `path+file:///NAME#VERSION` if the
/// folder has the package's name.
fn package(id: &str) -> &str {
    let (place, named) = id.rsplit_once('#').unwrap_or((id, ""));
    named.split_once('@').map_or_else(|| place.rsplit('/').next().unwrap_or_default(), |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_test_programs_are_run() {
        let artifact = |test: bool, executable: Option<&str>, package: &str| {
            json!({
                "reason": "compiler-artifact", "profile": { "test": test }, "executable": executable,
                "package_id": format!("path+file:///src/{package}@0.1.0"),
                "manifest_path": format!("/src/{}/Cargo.toml", package.split('#').next().unwrap()), "target": { "name": "boot" },
            })
        };
        let boot = program(&artifact(true, Some("/t/boot-1"), "web#pxe-web")).expect("a test program");
        assert_eq!((boot.path, boot.folder), (PathBuf::from("/t/boot-1"), PathBuf::from("/src/web")));
        assert!(!boot.needs_root);
        let suites = program(&artifact(true, Some("/t/x"), "suites#pxe-tests")).expect("one");
        assert!(suites.needs_root);
        assert_eq!(self::package("path+file:///src/pxed#0.1.0"), "pxed");
        assert_eq!(program(&artifact(true, None, "web#pxe-web")), None);
        assert_eq!(program(&artifact(false, Some("/t/pxed"), "web#pxe-web")), None);
        assert_eq!(program(&json!({})), None);
    }

    #[test]
    fn tests_are_listed_and_benchmarks_are_not() {
        assert_eq!(names("a::b: test\nc: benchmark\nd: test\n\n2 tests\n"), ["a::b", "d"]);
    }
}
