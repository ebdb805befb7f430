//! The record beside the objects: their hashes, and what they were built from.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use toml::{Table, Value};

use crate::inputs::Inputs;
use crate::{OBJECTS, sha256};

/// Path of the record, relative to the workspace.
pub const FILE: &str = "pxe-user/nic/ebpf/built-from.toml";
const HEAD: &str = "# What the kernel objects are and what they were built from. `cargo xtask ebpf` writes this file and the\n\
                    # objects; pxe-user/nic/build.rs compares it with the sources at each build.\n\n";

/// The content of the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// SHA-256 of each object, by its path.
    pub objects: BTreeMap<String, String>,
    /// Versions of compiler, LLVM and linker, by their names.
    pub tools: BTreeMap<String, String>,
    /// The inputs from which the objects were built.
    pub inputs: Inputs,
}

impl Record {
    /// Reads the record of the workspace in this folder.
    ///
    /// # Errors
    /// When the record cannot be read, or does not have the form that [`Self::write`] writes.
    pub fn read(workspace: &Path) -> Result<Self> {
        let path = workspace.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} cannot be understood", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let table: Table = text.parse()?;
        let part = |name: &str| -> Result<BTreeMap<String, String>> {
            let part = table.get(name).and_then(Value::as_table).with_context(|| format!("no [{name}]"))?;
            let entry = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
            part.iter().map(entry).collect::<Option<_>>().with_context(|| format!("[{name}] has no texts"))
        };
        Ok(Self { objects: part("objects")?, tools: part("tools")?, inputs: Inputs(part("inputs")?) })
    }

    /// Writes the record to the workspace in this folder.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, workspace: &Path) -> Result<()> {
        let path = workspace.join(FILE);
        fs::write(&path, self.text()).with_context(|| format!("cannot write {}", path.display()))
    }

    fn text(&self) -> String {
        let parts = [("objects", &self.objects), ("tools", &self.tools), ("inputs", &self.inputs.0)];
        let part = |(name, entries): (&str, &BTreeMap<String, String>)| {
            let entries = entries.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str())));
            (name.to_owned(), Value::Table(entries.collect()))
        };
        format!("{HEAD}{}", Table::from_iter(parts.map(part)))
    }

    /// Compares the record with the sources and the committed objects.
    ///
    /// # Errors
    /// When they differ. The error names each difference and the remedy.
    pub fn check(&self, workspace: &Path) -> Result<()> {
        let mut differences = Inputs::read(workspace)?.changes_since(&self.inputs);
        for object in OBJECTS {
            let path = workspace.join(object.file);
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            if self.objects.get(object.file) != Some(&sha256(&bytes)) {
                differences.push(format!("{} is not the recorded object", object.file));
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        bail!(
            "the committed kernel objects are out of date: {}.\n\
             Run `cargo xtask ebpf` to build them anew (it fetches the compiler; nothing is installed), \
             or set PXED_EBPF=source to build them with a compiler of this machine",
            differences.join("; ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let record = Record {
            objects: one("pxe-user/nic/ebpf/pxed.bpf.o", "00ff"),
            tools: one("rustc", "rustc 1.96.0 (\"quoted\")"),
            inputs: Inputs(one("Cargo.toml: profile.ebpf", "{ debug = 2 }")),
        };
        assert_eq!(Record::parse(&record.text()).unwrap(), record);
        assert!(Record::parse("[objects]\n").is_err());
    }
}
