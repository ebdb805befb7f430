//! The modules that guests need, out of a kernel's package.

use std::fs;
use std::path::Path;

use anyhow::Result;
use pxe_memtest::Modules;

/// Copies `wanted` modules and those which they need out of an unpacked kernel package, decompressed; their names begin
/// with a number, in the order in which they have to be loaded. What is built into the kernel is left out.
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
