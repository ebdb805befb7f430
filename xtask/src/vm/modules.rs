//! The modules that a guest needs. A module says itself which others it needs (`depends=` in its section `.modinfo`), so
//! no `depmod` has to run over a whole tree.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Copies `wanted` modules and those which they need out of an unpacked kernel package, decompressed; their names begin
/// with a number, in the order in which they have to be loaded. What is built into the kernel is left out.
pub(super) fn collect(tree: &Path, wanted: &[&str], to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let mut found = Modules { files: HashMap::new(), builtin: Vec::new(), ordered: Vec::new() };
    // A merged /usr has them below usr/lib, older packages below lib.
    for base in ["lib/modules", "usr/lib/modules"] {
        found.look(&tree.join(base))?;
    }
    for module in wanted {
        found.add(module)?;
    }
    for (number, (name, bytes)) in found.ordered.iter().enumerate() {
        fs::write(to.join(format!("{number:02}-{name}.ko")), bytes)?;
    }
    Ok(())
}

struct Modules {
    files: HashMap<String, PathBuf>,
    builtin: Vec<String>,
    ordered: Vec<(String, Vec<u8>)>,
}

impl Modules {
    fn look(&mut self, folder: &Path) -> Result<()> {
        let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            let file = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                self.look(&path)?;
            } else if file == "modules.builtin" {
                let list = fs::read_to_string(&path)?;
                self.builtin.extend(list.lines().filter_map(|l| module_name(l.rsplit('/').next()?)));
            } else if let Some(name) = module_name(&file) {
                self.files.insert(name, path);
            }
        }
        Ok(())
    }

    /// Adds a module behind all that it needs.
    fn add(&mut self, name: &str) -> Result<()> {
        let known = |(other, _): &(String, Vec<u8>)| other == name;
        if self.ordered.iter().any(known) || self.builtin.iter().any(|other| other == name) {
            return Ok(());
        }
        let path = self.files.get(name).with_context(|| format!("this kernel has no module {name}"))?;
        let bytes = decompressed(path)?;
        for needed in needs(&bytes) {
            self.add(&needed)?;
        }
        self.ordered.push((name.to_owned(), bytes));
        Ok(())
    }
}

/// `virtio-ring.ko.xz` is the module `virtio_ring`.
fn module_name(file: &str) -> Option<String> {
    let (name, end) = file.split_once(".ko")?;
    matches!(end, "" | ".xz" | ".zst" | ".gz").then(|| name.replace('-', "_"))
}

fn decompressed(path: &Path) -> Result<Vec<u8>> {
    let tool = match path.extension().and_then(|end| end.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).with_context(|| format!("cannot read {}", path.display())),
    };
    let out = Command::new(tool).args(["--decompress", "--stdout"]).arg(path).output();
    let out = out.with_context(|| format!("cannot start `{tool}`: run `cargo xtask setup`"))?;
    ensure!(out.status.success(), "{tool}: {}", String::from_utf8_lossy(&out.stderr).trim());
    Ok(out.stdout)
}

/// The names behind `depends=`, the first of a module's strings of that name.
fn needs(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|window| window == key) else { return Vec::new() };
    let list = module[at + key.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let list = String::from_utf8_lossy(list);
    list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
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
    }

    #[test]
    fn module_files_have_a_name_and_perhaps_a_compression() {
        assert_eq!(module_name("virtio-ring.ko.xz").as_deref(), Some("virtio_ring"));
        assert_eq!(module_name("veth.ko").as_deref(), Some("veth"));
        assert_eq!(module_name("modules.order"), None);
        assert_eq!(module_name("x.ko.sig"), None);
    }
}
