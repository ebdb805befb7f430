//! Builds the memory test's image for tests and the lab, from an installed kernel, or from Debian's kernel in the cache.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use pxe_kit::{cache, command};
use pxe_memtest::{Image, KernelTree};

use crate::Kernel;
use crate::kernel::{place, unpack};

/// The Debian kernel to download: it has long-term support and drivers for the newest cards.
const FETCHED: &str = "6.12";
/// The kernel's folder in the cache. Change the number if other files of it are kept.
const CACHED: &str = "memory-test-1";

/// Builds the image, and prints its contents and how to serve it.
///
/// # Errors
/// As for [`build`].
pub fn run(out: Option<&Path>) -> Result<()> {
    let folder = out.map_or_else(|| command::workspace().join("out/image"), Path::to_path_buf);
    let image = build(&folder)?;
    println!("image: Linux {}, {} drivers", image.version, image.drivers);
    for file in [&image.kernel, &image.initrd] {
        println!("image: {}, {:.1} MB", file.display(), fs::metadata(file)?.len() as f64 / 1e6);
    }
    println!("image: to serve it, add this to pxed.toml, and name the image in a rule:\n");
    // A string in JSON is also a string in TOML.
    print!(
        "{}",
        pxe_memtest::snippet(&serde_json::Value::from(folder.canonicalize()?.to_string_lossy()).to_string())
    );
    Ok(())
}

/// Builds the image into a folder with [`pxe_memtest::build`].
///
/// # Errors
/// If there is no kernel, a package is missing, or the folder is not writable.
pub fn build(folder: &Path) -> Result<Image> {
    Ok(pxe_memtest::build(kernel()?, folder)?)
}

/// The kernel for the image: the installed one, or else Debian's in the cache, which the first call downloads.
///
/// # Errors
/// If no installed kernel is readable, and the download fails.
pub fn kernel() -> Result<KernelTree> {
    if let Ok(installed) = KernelTree::newest(Path::new("/")) {
        return Ok(installed);
    }
    let folder = cache::folder(&place(CACHED), keep)
        .context("no installed kernel is readable, and the download of Debian's kernel failed")?;
    let whole = || format!("{} is incomplete: remove it, and try again", folder.display());
    KernelTree::all_in(&folder).pop().with_context(whole)
}

/// Downloads the kernel, and keeps the files that the image needs, at the paths where a package installs them.
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
