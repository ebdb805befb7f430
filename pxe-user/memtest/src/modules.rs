//! Modules of a kernel, with all that they need. A module says itself which others it needs (`depends=` in its section
//! `.modinfo`), so no `depmod` has to run over a whole tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;
use super::tools;

/// A module.
#[derive(Debug)]
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// What is in it, decompressed.
    pub bytes: Vec<u8>,
}

impl Module {
    /// The modules that have to be loaded before it; some may be built into the kernel.
    pub fn needs(&self) -> Vec<String> {
        needs(&self.bytes)
    }

    /// What it says of itself under a key: `alias`, `firmware`.
    pub fn says(&self, key: &str) -> Vec<String> {
        said(&self.bytes, key)
    }
}

/// The modules of one kernel, and those of them that were chosen.
pub struct Modules {
    files: BTreeMap<String, PathBuf>,
    builtin: Vec<String>,
    ordered: Vec<Module>,
}

impl Modules {
    /// What lies in `lib/modules/VERSION` of a tree, or below `usr/lib/modules`, where a merged /usr has it. Without a
    /// version all that the tree has.
    pub fn of(tree: &Path, version: &str) -> Result<Self, Error> {
        let mut found = Self { files: BTreeMap::new(), builtin: Vec::new(), ordered: Vec::new() };
        for base in ["lib/modules", "usr/lib/modules"] {
            found.look(&tree.join(base).join(version))?;
        }
        Ok(found)
    }

    fn look(&mut self, folder: &Path) -> Result<(), Error> {
        let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
        for entry in entries {
            let read = || Error::io(format!("read {}", folder.display()));
            let entry = entry.map_err(read())?;
            let path = entry.path();
            let file = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().map_err(read())?.is_dir() {
                self.look(&path)?;
            } else if file == "modules.builtin" {
                let list = fs::read_to_string(&path).map_err(read())?;
                self.builtin.extend(list.lines().filter_map(|l| module_name(l.rsplit('/').next()?)));
            } else if let Some(name) = module_name(&file) {
                self.files.insert(name, path);
            }
        }
        Ok(())
    }

    /// The names of those whose path holds these words, in order.
    pub fn below(&self, folder: &str) -> Vec<String> {
        let in_folder = |path: &Path| path.to_string_lossy().contains(folder);
        self.files.iter().filter(|(_, path)| in_folder(path)).map(|(name, _)| name.clone()).collect()
    }

    /// Whether it is there as a file.
    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// Adds a module behind all that it needs.
    pub fn add(&mut self, name: &str) -> Result<(), Error> {
        let known = |other: &Module| other.name == name;
        if self.ordered.iter().any(known) || self.builtin.iter().any(|other| other == name) {
            return Ok(());
        }
        let path = self.files.get(name).ok_or_else(|| Error::NoModule(name.to_owned()))?.clone();
        let module = Module { name: name.to_owned(), bytes: decompressed(&path)?, path };
        for needed in module.needs() {
            self.add(&needed)?;
        }
        self.ordered.push(module);
        Ok(())
    }

    /// What was added, in the order in which it has to be loaded.
    pub fn ordered(self) -> Vec<Module> {
        self.ordered
    }
}

/// `virtio-ring.ko.xz` is the module `virtio_ring`.
fn module_name(file: &str) -> Option<String> {
    let (name, end) = file.split_once(".ko")?;
    matches!(end, "" | ".xz" | ".zst" | ".gz").then(|| name.replace('-', "_"))
}

fn decompressed(path: &Path) -> Result<Vec<u8>, Error> {
    let tool = match path.extension().and_then(|end| end.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).map_err(Error::io(format!("read {}", path.display()))),
    };
    tools::output(tool, Command::new(tool).args(["--decompress", "--stdout"]).arg(path))
}

/// The names behind `depends=`, the first of a module's strings of that name.
fn needs(module: &[u8]) -> Vec<String> {
    let list = said(module, "depends").into_iter().next().unwrap_or_default();
    list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

/// All strings behind `KEY=`.
fn said(module: &[u8], key: &str) -> Vec<String> {
    let key = format!("\0{key}=");
    let string = |at: usize| {
        let rest = &module[at + key.len()..];
        let end = memchr::memchr(0, rest).unwrap_or(rest.len());
        String::from_utf8_lossy(&rest[..end]).into_owned()
    };
    memchr::memmem::find_iter(module, key.as_bytes()).map(string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_names_what_it_needs() {
        assert_eq!(
            needs(b"\x7fELF\0license=GPL\0depends=virtio,net-failover\0name=x\0"),
            ["virtio", "net_failover"]
        );
        assert!(needs(b"\x7fELF\0depends=\0name=x\0").is_empty());
        assert!(needs(b"\x7fELF").is_empty());
        assert_eq!(said(b"\0alias=pci:v1\0alias=pci:v2\0", "alias"), ["pci:v1", "pci:v2"]);
    }

    #[test]
    fn module_files_have_a_name_and_perhaps_a_compression() {
        assert_eq!(module_name("virtio-ring.ko.xz").as_deref(), Some("virtio_ring"));
        assert_eq!(module_name("veth.ko").as_deref(), Some("veth"));
        assert_eq!(module_name("modules.order"), None);
        assert_eq!(module_name("x.ko.sig"), None);
    }
}
