//! The memory test that machines boot over the network: a kernel and an archive, made of installed packages.
//!
//! ```text
//! kernel    the newest installed kernel, or one of Debian's, fetched and kept in the user's cache
//! drivers   network cards and memory controllers: the modules, and what finds them in the guest
//! archive   programs, drivers and scripts as one compressed initramfs
//! guest/    the scripts: the first process, the test, its reports, its screens
//! ```
//!
//! The same installed packages give the same files, bit for bit. What the test does is in `docs/memory-test.md`.

mod archive;
mod drivers;
mod kernel;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pxe_kit::command;

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

/// Builds the image, and says what is in it and how to serve it.
///
/// # Errors
/// When a package is missing, no kernel can be had, or the folder cannot be written.
pub fn run(out: Option<&Path>) -> Result<()> {
    let folder = out.map_or_else(|| command::workspace().join("out/image"), Path::to_path_buf);
    let image = build(&folder)?;
    let folder = folder.canonicalize()?;
    println!("image: Linux {}, {} drivers", image.version, image.drivers);
    for file in [&image.kernel, &image.initrd] {
        println!("image: {}, {:.1} MB", file.display(), fs::metadata(file)?.len() as f64 / 1e6);
    }
    println!("image: to serve it, put this into pxed.toml and name the image in a rule:\n");
    print!("{}", snippet(&folder));
    Ok(())
}

/// The image in pxed.toml.
fn snippet(folder: &Path) -> String {
    // JSON's strings are strings of TOML's, too.
    let root = serde_json::Value::from(folder.to_string_lossy());
    format!(
        "[images.memory-test]\n\
         kernel = \"{KERNEL}\"\n\
         initrd = [\"{INITRD}\"]\n\
         args = \"console=tty0 console=ttyS0,115200 pxed.report={{{{ report_url }}}} pxed.mac={{{{ mac }}}}\"\n\
         root = {root}\n"
    )
}

/// Builds the image into a folder. What is there is replaced as a whole, so that it can be served meanwhile.
///
/// # Errors
/// When something that it is made of is missing, or the folder cannot be written.
pub fn build(folder: &Path) -> Result<Image> {
    let source = kernel::find()?;
    let drivers = drivers::of(&source)?;
    let archive = archive::build(&source.version, &drivers)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let bytes = fs::read(&source.image).with_context(|| format!("cannot read {}", source.image.display()))?;
    let kernel = write(folder, KERNEL, &bytes)?;
    let initrd = write(folder, INITRD, &archive)?;
    Ok(Image { kernel, initrd, version: source.version, drivers: drivers.len() })
}

/// Fetches the kernel, if none is installed: for a later [`build`] by somebody who should not write to this user's cache.
///
/// # Errors
/// When Debian's archive cannot be reached.
pub fn prepare() -> Result<()> {
    kernel::find().map(drop)
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let path = folder.join(name);
    let unfinished = folder.join(format!("{name}.part"));
    fs::write(&unfinished, bytes).with_context(|| format!("cannot write {}", unfinished.display()))?;
    fs::rename(&unfinished, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snippet_holds_any_folder() {
        let text = snippet(Path::new("/srv/a \"b\""));
        assert!(text.ends_with("root = \"/srv/a \\\"b\\\"\"\n"), "{text}");
        assert!(text.contains("pxed.report={{ report_url }} pxed.mac={{ mac }}\""), "{text}");
    }
}
