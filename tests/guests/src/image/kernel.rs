//! Which kernel is booted: the newest installed one that this user may read, else Debian's.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use pxe_kit::cache;

use super::drivers;
use crate::Kernel;
use crate::kernel::{Tree, in_tree, place, unpack};
use crate::modules::Modules;

/// Debian's kernel with long support and drivers for the newest cards.
const FETCHED: &str = "6.12";
/// Its folder in the cache. The number changes with what is kept of it.
const CACHED: &str = "memory-test-1";

/// The kernel, with its modules in the tree beside it.
///
/// # Errors
/// When none is installed, and Debian's cannot be fetched.
pub(super) fn find() -> Result<Tree> {
    // Ubuntu lets only root read its kernels.
    let usable = |kernel: &Tree| File::open(&kernel.image).is_ok() && has_network_cards(kernel);
    if let Some(installed) = in_tree(Path::new("/")).into_iter().rfind(usable) {
        return Ok(installed);
    }
    let folder = cache::folder(&place(CACHED), keep)
        .context("no installed kernel can be read, and Debian's was not fetched")?;
    let whole = || format!("{} is not whole: remove it, and it is fetched again", folder.display());
    in_tree(&folder).pop().with_context(whole)
}

fn has_network_cards(kernel: &Tree) -> bool {
    Modules::of(&kernel.tree, &kernel.version).is_ok_and(|modules| modules.has("e1000e"))
}

/// Fetches the kernel into a folder, and keeps of it what the image needs, where it is installed, too.
fn keep(folder: &Path) -> Result<()> {
    let packages = folder.join("packages");
    let unpacked = unpack(Kernel::named(FETCHED)?, &packages)?;
    let base = if unpacked.tree.join("lib/modules").is_dir() { "lib/modules" } else { "usr/lib/modules" };
    let builtin = unpacked.tree.join(base).join(&unpacked.version).join("modules.builtin");
    let mut files = vec![unpacked.image.clone(), builtin];
    files.extend(drivers::of(&unpacked)?.into_iter().map(|module| module.path));
    for file in files {
        let to = folder.join(file.strip_prefix(&unpacked.tree)?);
        fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
        fs::rename(&file, &to).with_context(|| format!("cannot keep {}", file.display()))?;
    }
    fs::remove_dir_all(&packages)?;
    Ok(())
}
