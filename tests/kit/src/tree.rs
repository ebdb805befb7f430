//! Makes boot trees for tests.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Bytes that differ from block to block, so that a misplaced block shows.
pub fn bytes(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ len as u64;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Makes a folder with these files below `folder`, readable for everybody.
///
/// # Errors
/// If a file cannot be written.
pub fn with_files(folder: &Path, files: &[(&str, Vec<u8>)]) -> Result<PathBuf> {
    let root = folder.join("root");
    fs::create_dir_all(&root)?;
    for (name, bytes) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
        fs::write(path, bytes)?;
    }
    Ok(root)
}

/// Makes a boot tree by the steps of the usual recipe: a copy of memtest86+ without its file name extension, links to the
/// distribution's boot loaders, and one configuration file.
///
/// # Errors
/// If a package is missing: `cargo xtask setup` installs them.
pub fn recipe(folder: &Path) -> Result<PathBuf> {
    let root = folder.join("tftpboot");
    fs::create_dir_all(root.join("memtest"))?;
    fs::create_dir_all(root.join("pxelinux.cfg"))?;
    let memtest =
        crate::firmware::require("memtest86+", &["/boot/memtest86+x64.bin", "/boot/memtest86+.bin"])?;
    fs::copy(memtest, root.join("memtest/memtest86+-5.01"))?;
    let config = "default memtest86\nprompt 1\ntimeout 15\n\nlabel memtest86\n  \
                  menu label Memtest86+ 5.01\n  kernel /memtest/memtest86+-5.01\n";
    fs::write(root.join("pxelinux.cfg/default"), config)?;
    let loader = [
        "/usr/lib/PXELINUX/pxelinux.0",
        "/usr/share/syslinux/pxelinux.0",
        "/usr/lib/syslinux/bios/pxelinux.0",
    ];
    let module = [
        "/usr/lib/syslinux/modules/bios/ldlinux.c32",
        "/usr/share/syslinux/ldlinux.c32",
        "/usr/lib/syslinux/bios/ldlinux.c32",
    ];
    symlink(crate::firmware::require("pxelinux.0", &loader)?, root.join("pxelinux.0"))?;
    symlink(crate::firmware::require("ldlinux.c32", &module)?, root.join("ldlinux.c32"))?;
    Ok(root)
}
