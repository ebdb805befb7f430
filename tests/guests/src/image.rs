//! The memory test's image for tests and the lab: of an installed kernel, else of Debian's, which is fetched once.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use pxe_kit::{cache, command};
use pxe_memtest::{Image, KernelTree};

use crate::Kernel;
use crate::kernel::{place, unpack};

/// Debian's kernel with long support and drivers for the newest cards.
const FETCHED: &str = "6.12";
/// Its folder in the cache. The number changes with what is kept of it.
const CACHED: &str = "memory-test-1";

/// Builds the image, and says what is in it and how to serve it.
///
/// # Errors
/// When a package is missing, no kernel can be had, or the folder cannot be written.
pub fn run(out: Option<&Path>) -> Result<()> {
    let folder = out.map_or_else(|| command::workspace().join("out/image"), Path::to_path_buf);
    let image = build(&folder)?;
    println!("image: Linux {}, {} drivers", image.version, image.drivers);
    for file in [&image.kernel, &image.initrd] {
        println!("image: {}, {:.1} MB", file.display(), fs::metadata(file)?.len() as f64 / 1e6);
    }
    println!("image: to serve it, put this into pxed.toml and name the image in a rule:\n");
    // JSON's strings are strings of TOML's, too.
    print!(
        "{}",
        pxe_memtest::snippet(&serde_json::Value::from(folder.canonicalize()?.to_string_lossy()).to_string())
    );
    Ok(())
}

/// Builds the image into a folder: see [`pxe_memtest::build`].
///
/// # Errors
/// When something that it is made of is missing, or the folder cannot be written.
pub fn build(folder: &Path) -> Result<Image> {
    Ok(pxe_memtest::build(kernel()?, folder)?)
}

/// The kernel that the image is made of: installed, or in this user's cache, where it is fetched to if it is not there.
///
/// # Errors
/// When none is installed, and Debian's cannot be fetched.
pub fn kernel() -> Result<KernelTree> {
    if let Ok(installed) = KernelTree::newest(Path::new("/")) {
        return Ok(installed);
    }
    let folder = cache::folder(&place(CACHED), keep)
        .context("no installed kernel can be read, and Debian's was not fetched")?;
    let whole = || format!("{} is not whole: remove it, and it is fetched again", folder.display());
    KernelTree::all_in(&folder).pop().with_context(whole)
}

/// Fetches the kernel into a folder, and keeps of it what the image needs, where it is installed, too.
fn keep(folder: &Path) -> Result<()> {
    let packages = folder.join("packages");
    let unpacked = unpack(Kernel::named(FETCHED)?, &packages)?;
    let base = if unpacked.tree.join("lib/modules").is_dir() { "lib/modules" } else { "usr/lib/modules" };
    let builtin = unpacked.tree.join(base).join(&unpacked.version).join("modules.builtin");
    let mut files = vec![unpacked.image.clone(), builtin];
    files.extend(pxe_memtest::drivers_of(&unpacked)?.into_iter().map(|module| module.path));
    for file in files {
        let to = folder.join(file.strip_prefix(&unpacked.tree)?);
        fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
        fs::rename(&file, &to).with_context(|| format!("cannot keep {}", file.display()))?;
    }
    fs::remove_dir_all(&packages)?;
    Ok(())
}
