//! The inputs: everything that determines the content of the objects, each with its hash.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use toml::{Table, Value};

use crate::{compile, sha256};

/// The crates of this workspace that are compiled for the kernel.
const CRATES: [&str; 2] = ["pxe-common", "pxe-ebpf"];
/// A crate with which a build script of aya's detects the processor. It and its dependencies do not change
/// the code.
const NOT_IN_THE_CODE: &str = "aya-build";

/// The inputs by name. The value is a hash, or the content itself if that is short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs(pub BTreeMap<String, String>);

impl Inputs {
    /// Reads the inputs of the workspace in this folder.
    ///
    /// # Errors
    /// When a file cannot be read, or when a manifest or the lock file has another form than cargo's.
    pub fn read(workspace: &Path) -> Result<Self> {
        let mut inputs = BTreeMap::new();
        for name in CRATES {
            let folder = workspace.join(name);
            add_file(&mut inputs, workspace, &folder.join("Cargo.toml"))?;
            add_sources(&mut inputs, workspace, &folder.join("src"))?;
        }
        let manifest = table(&workspace.join("Cargo.toml"))?;
        add_settings(&mut inputs, &manifest, workspace)?;
        let lock = table(&workspace.join("Cargo.lock"))?;
        add_crates(&mut inputs, &lock, &dependencies(workspace)?)?;
        inputs.insert("compiler flags".into(), compile::FLAGS.join(" "));
        Ok(Self(inputs))
    }

    /// Returns the differences from the recorded inputs, one short sentence for each.
    #[must_use]
    pub fn changes_since(&self, recorded: &Self) -> Vec<String> {
        let names: BTreeSet<_> = self.0.keys().chain(recorded.0.keys()).collect();
        let change = |name: &&String| match (recorded.0.get(*name), self.0.get(*name)) {
            (None, _) => Some(format!("{name} is new")),
            (_, None) => Some(format!("{name} is gone")),
            (before, now) => (before != now).then(|| format!("{name} changed")),
        };
        names.iter().filter_map(change).collect()
    }
}

fn table(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("{} is not valid TOML", path.display()))
}

fn add_file(inputs: &mut BTreeMap<String, String>, workspace: &Path, path: &Path) -> Result<()> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = path.strip_prefix(workspace).unwrap_or(path);
    inputs.insert(name.display().to_string(), sha256(&bytes));
    Ok(())
}

fn add_sources(inputs: &mut BTreeMap<String, String>, workspace: &Path, folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            add_sources(inputs, workspace, &path)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            add_file(inputs, workspace, &path)?;
        }
    }
    Ok(())
}

/// Adds the settings in the workspace's manifest that concern the kernel programs. The rest of that file is
/// not an input.
fn add_settings(inputs: &mut BTreeMap<String, String>, manifest: &Table, workspace: &Path) -> Result<()> {
    let value = |path: &[&str]| {
        let mut keys = path.iter();
        let first = keys.next().and_then(|key| manifest.get(*key));
        keys.try_fold(first?, |value, key| value.get(*key))
    };
    let mut add = |path: &[&str]| -> Result<()> {
        let name = path.join(".");
        let value = value(path).with_context(|| format!("Cargo.toml has no {name}"))?;
        inputs.insert(format!("Cargo.toml: {name}"), value.to_string());
        Ok(())
    };
    // The version is part of the names of symbols.
    add(&["workspace", "package", "version"])?;
    add(&["workspace", "package", "edition"])?;
    add(&["profile", compile::PROFILE])?;
    dependencies(workspace)?.iter().try_for_each(|name| add(&["workspace", "dependencies", name]))
}

/// Returns the crates that the kernel programs depend on. Optional dependencies are not included, because
/// only user space uses them.
fn dependencies(workspace: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for name in CRATES {
        let manifest = table(&workspace.join(name).join("Cargo.toml"))?;
        let dependencies = manifest.get("dependencies").and_then(Value::as_table);
        for (dependency, how) in dependencies.into_iter().flatten() {
            let is_optional = how.get("optional").and_then(Value::as_bool) == Some(true);
            if !is_optional && !CRATES.contains(&dependency.as_str()) {
                names.insert(dependency.clone());
            }
        }
    }
    Ok(names)
}

/// Adds the locked versions of these crates and of all their dependencies.
fn add_crates(inputs: &mut BTreeMap<String, String>, lock: &Table, direct: &BTreeSet<String>) -> Result<()> {
    let packages = lock.get("package").and_then(Value::as_array).context("Cargo.lock lists no packages")?;
    let text = |package: &Value, key: &str| package.get(key)?.as_str().map(str::to_owned);
    let mut open: Vec<String> = direct.iter().cloned().collect();
    let mut seen = BTreeSet::new();
    while let Some(wanted) = open.pop() {
        // An entry is `NAME`, or `NAME VERSION` if several versions are locked.
        let mut words = wanted.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        if name == NOT_IN_THE_CODE || !seen.insert(wanted.clone()) {
            continue;
        }
        let is_wanted = |package: &&Value| {
            text(package, "name").as_deref() == Some(name)
                && version.is_none_or(|v| text(package, "version").as_deref() == Some(v))
        };
        let package = packages.iter().find(is_wanted);
        let package = package.with_context(|| format!("Cargo.lock has no {wanted}: run `cargo build`"))?;
        let version = text(package, "version").unwrap_or_default();
        let checksum = text(package, "checksum").unwrap_or_else(|| "no checksum".into());
        inputs.insert(format!("Cargo.lock: {name} {version}"), checksum);
        let needs = package.get("dependencies").and_then(Value::as_array);
        open.extend(needs.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a workspace with one source file, one dependency, and one dependency of that dependency.
    fn workspace() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "Cargo.toml",
            "[workspace.package]\nversion = '0.1.0'\nedition = '2024'\nauthors = []\n\
             [workspace.dependencies]\naya-ebpf = '0.2'\naya = '0.14'\n[profile.ebpf]\ninherits = 'release'\n",
        );
        write(
            "Cargo.lock",
            "[[package]]\nname = 'aya-ebpf'\nversion = '0.2.1'\nchecksum = 'aa'\n\
             dependencies = ['macros 0.2.0', 'aya-build']\n\
             [[package]]\nname = 'macros'\nversion = '0.1.0'\nchecksum = 'b1'\n\
             [[package]]\nname = 'macros'\nversion = '0.2.0'\nchecksum = 'b2'\n\
             [[package]]\nname = 'aya-build'\nversion = '0.2.0'\nchecksum = 'cc'\n\
             [[package]]\nname = 'aya'\nversion = '0.14.0'\nchecksum = 'dd'\n",
        );
        write(
            "pxe-common/Cargo.toml",
            "[dependencies]\naya = { workspace = true, optional = true }\n[dev-dependencies]\nproptest = '1'\n",
        );
        write("pxe-common/src/lib.rs", "");
        write("pxe-common/src/notes.txt", "");
        write(
            "pxe-ebpf/Cargo.toml",
            "[dependencies]\naya-ebpf.workspace = true\npxe-common.workspace = true\n",
        );
        write("pxe-ebpf/src/offload/mod.rs", "");
        folder
    }

    #[test]
    fn inputs_are_sources_manifests_settings_and_locked_crates_of_the_kernel_side_only() {
        let folder = workspace();
        let inputs = Inputs::read(folder.path()).unwrap();
        let names: Vec<_> = inputs.0.keys().map(String::as_str).collect();
        let wanted = [
            "Cargo.lock: aya-ebpf 0.2.1",
            "Cargo.lock: macros 0.2.0",
            "Cargo.toml: profile.ebpf",
            "Cargo.toml: workspace.dependencies.aya-ebpf",
            "Cargo.toml: workspace.package.edition",
            "Cargo.toml: workspace.package.version",
            "compiler flags",
            "pxe-common/Cargo.toml",
            "pxe-common/src/lib.rs",
            "pxe-ebpf/Cargo.toml",
            "pxe-ebpf/src/offload/mod.rs",
        ];
        assert_eq!(names, wanted);
        assert_eq!(inputs.0["Cargo.lock: macros 0.2.0"], "b2");
    }

    #[test]
    fn every_change_is_named() {
        let folder = workspace();
        let before = Inputs::read(folder.path()).unwrap();
        assert!(before.changes_since(&before).is_empty());
        fs::write(folder.path().join("pxe-common/src/lib.rs"), "//!").unwrap();
        fs::write(folder.path().join("pxe-common/src/more.rs"), "").unwrap();
        fs::remove_file(folder.path().join("pxe-ebpf/src/offload/mod.rs")).unwrap();
        let changes = Inputs::read(folder.path()).unwrap().changes_since(&before);
        let wanted = [
            "pxe-common/src/lib.rs changed",
            "pxe-common/src/more.rs is new",
            "pxe-ebpf/src/offload/mod.rs is gone",
        ];
        assert_eq!(changes, wanted);
    }

    /// The lock file changes with each crate of user space. These changes are not inputs.
    #[test]
    fn crates_of_user_space_change_nothing() {
        let folder = workspace();
        let before = Inputs::read(folder.path()).unwrap();
        let lock = folder.path().join("Cargo.lock");
        let text = fs::read_to_string(&lock).unwrap();
        fs::write(&lock, text.replace("'dd'", "'ee'").replace("'cc'", "'ff'")).unwrap();
        assert_eq!(Inputs::read(folder.path()).unwrap(), before);
        fs::write(&lock, text.replace("'b2'", "'b3'")).unwrap();
        let changes = Inputs::read(folder.path()).unwrap().changes_since(&before);
        assert_eq!(changes, ["Cargo.lock: macros 0.2.0 changed"]);
    }
}
