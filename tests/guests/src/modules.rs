//! Collects the modules that guests need from a kernel's package.

use std::fs;
use std::path::Path;

use anyhow::Result;
use pxe_memtest::Modules;

/// Copies the modules `wanted` and their dependencies from an unpacked kernel package, decompressed. Their names start with
/// a number, in the order of loading. Modules that are built into the kernel are left out.
pub(super) fn collect(tree: &Path, wanted: &[&str], to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let mut found = Modules::of(tree, "")?;
    for module in wanted {
        found.add(module)?;
    }
    for (number, module) in found.ordered().iter().enumerate() {
        fs::write(to.join(format!("{number:02}-{}.ko", module.name)), &module.bytes)?;
    }
    Ok(())
}
