//! The memory test that machines boot over the network: a kernel and an archive, built from installed packages.
//!
//! ```text
//! kernel    kernels as they are installed: the newest one is taken
//! modules   a kernel's modules, with all that they need
//! drivers   network cards and memory controllers: the modules, and what finds them in the guest
//! libraries the programs' shared libraries
//! initramfs the format of the archive
//! archive   programs, drivers and scripts as one compressed initramfs
//! guest/    the scripts: the first process, the test, its reports, its screens
//! ```
//!
//! The same installed packages give the same files, bit for bit. What the test does is in `docs/memory-test.md`.

mod archive;
mod drivers;
mod error;
mod initramfs;
mod kernel;
pub mod libraries;
mod modules;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

pub use error::Error;
pub use initramfs::Initramfs;
pub use kernel::KernelTree;
pub use modules::{Module, Modules};

/// The kernel's file name.
pub const KERNEL: &str = "memtest-kernel";
/// The archive's file name.
pub const INITRD: &str = "memtest-initrd";

/// The image, as it lies in a folder.
#[derive(Clone, Debug)]
pub struct Image {
    /// The kernel.
    pub kernel: PathBuf,
    /// The archive that it starts from.
    pub initrd: PathBuf,
    /// The kernel's version.
    pub version: String,
    /// How many drivers are in it.
    pub drivers: usize,
}

/// The image's table in `pxed.toml`. `root` is the folder, as a string of TOML.
#[must_use]
pub fn snippet(root: &str) -> String {
    format!(
        "[images.memory-test]\n\
         kernel = \"{KERNEL}\"\n\
         initrd = [\"{INITRD}\"]\n\
         args = \"console=tty0 console=ttyS0,115200 pxed.report={{{{ report_url }}}} pxed.mac={{{{ mac }}}}\"\n\
         root = {root}\n"
    )
}

/// The modules that the image takes of a kernel, in the order in which they need each other.
///
/// # Errors
/// When a module cannot be read, or needs one that is not there.
pub fn drivers_of(kernel: &KernelTree) -> Result<Vec<Module>, Error> {
    drivers::of(kernel)
}

/// Builds the image of a kernel into a folder. What is there is replaced as a whole, so that it can be served meanwhile.
///
/// # Errors
/// When something that it is made of is missing, or the folder cannot be written.
pub fn build(source: KernelTree, folder: &Path) -> Result<Image, Error> {
    let drivers = drivers::of(&source)?;
    let archive = archive::build(&source.version, &drivers)?;
    fs::create_dir_all(folder).map_err(Error::io(format!("make {}", folder.display())))?;
    let bytes = fs::read(&source.image).map_err(Error::io(format!("read {}", source.image.display())))?;
    let kernel = write(folder, KERNEL, &bytes)?;
    let initrd = write(folder, INITRD, &archive)?;
    Ok(Image { kernel, initrd, version: source.version, drivers: drivers.len() })
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
    let path = folder.join(name);
    let unfinished = folder.join(format!("{name}.part"));
    let what = || Error::io(format!("write {}", unfinished.display()));
    fs::write(&unfinished, bytes).map_err(what())?;
    fs::rename(&unfinished, &path).map_err(Error::io(format!("write {}", path.display())))?;
    Ok(path)
}
