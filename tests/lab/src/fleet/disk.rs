//! Makes a local disk that prints a line when a machine boots it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// The line that the disk prints.
pub(super) const WORDS: &str = "Booted from the local disk";

/// A boot sector that prints the line by the BIOS' teletype function (int 10h, AH = 0Eh), and stops.
const CODE: [u8; 24] = [
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // mov ds, ax
    0xbb, 0x07, 0x00, // mov bx, 7
    0xbe, 0x18, 0x7c, // mov si, 7c18h: behind this code
    0xac, // lodsb
    0x84, 0xc0, // test al, al
    0x74, 0x06, // jz stop
    0xb4, 0x0e, // mov ah, 0eh
    0xcd, 0x10, // int 10h
    0xeb, 0xf5, // jmp lodsb
    0xf4, // stop: hlt
    0xeb, 0xfd, // jmp stop
];

/// Writes a disk image of 1 MiB for BIOS machines, and returns its path.
pub(super) fn bios(folder: &Path) -> Result<PathBuf> {
    let mut disk = vec![0; 1 << 20];
    disk[..CODE.len()].copy_from_slice(&CODE);
    disk[CODE.len()..CODE.len() + WORDS.len()].copy_from_slice(WORDS.as_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let file = folder.join("disk.img");
    fs::write(&file, disk)?;
    Ok(file)
}
