//! The paths at which distributions install firmware, boot loaders and memtest86+.
//!
//! Debian's paths are tested. Those of Fedora, Arch and openSUSE come from the file lists of their packages, and are not
//! tried.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// PXELINUX, the boot program of BIOS machines.
pub const PXELINUX: &[&str] =
    &["/usr/lib/PXELINUX/pxelinux.0", "/usr/share/syslinux/pxelinux.0", "/usr/lib/syslinux/bios/pxelinux.0"];

/// PXELINUX with lwIP, for HTTP and FTP.
pub const LPXELINUX: &[&str] = &[
    "/usr/lib/PXELINUX/lpxelinux.0",
    "/usr/share/syslinux/lpxelinux.0",
    "/usr/lib/syslinux/bios/lpxelinux.0",
];

/// The library that PXELINUX loads first.
pub const LDLINUX: &[&str] = &[
    "/usr/lib/syslinux/modules/bios/ldlinux.c32",
    "/usr/share/syslinux/ldlinux.c32",
    "/usr/lib/syslinux/bios/ldlinux.c32",
];

/// memtest86+ as a kernel for BIOS machines.
pub const MEMTEST_BIOS: &[&str] = &[
    "/boot/memtest86+x64.bin",
    "/boot/memtest86+/memtest.bin",
    "/usr/lib/memtest86+/memtest.bin",
    "/boot/memtest86+ia32.bin",
    "/boot/mt86+x64",
];

/// memtest86+ as an x64 EFI program.
pub const MEMTEST_X64: &[&str] = &[
    "/boot/memtest86+x64.efi",
    "/boot/memtest86+/memtest.efi",
    "/usr/lib/memtest86+/memtest.efi",
    "/usr/share/efi/x86_64/memtest.efi",
    "/boot/mt86+x64",
];

/// memtest86+ as an IA32 EFI program.
pub const MEMTEST_IA32: &[&str] = &["/boot/memtest86+ia32.efi", "/boot/mt86+ia32"];

/// OVMF for x64: the code, and the template of its variables.
pub const OVMF_X64: &[[&str; 2]] = &[
    ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"],
    ["/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"],
    ["/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"],
    ["/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"],
    ["/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"],
];

/// OVMF for x64 with Microsoft's keys: it starts only programs that Microsoft has signed.
pub const OVMF_SECURE: &[[&str; 2]] = &[
    ["/usr/share/OVMF/OVMF_CODE_4M.ms.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"],
    ["/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd"],
];

/// OVMF for IA32. Debian's is built for system management mode.
pub const OVMF_IA32: &[[&str; 2]] = &[
    ["/usr/share/OVMF/OVMF32_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF32_VARS_4M.fd"],
    ["/usr/share/edk2/ovmf-ia32/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf-ia32/OVMF_VARS.fd"],
    ["/usr/share/edk2/ia32/OVMF_CODE.secboot.4m.fd", "/usr/share/edk2/ia32/OVMF_VARS.4m.fd"],
];

/// iPXE as the option ROM of QEMU's virtio card. QEMU finds the file by itself; set-up checks only that it exists.
pub const IPXE_ROM: &[&str] = &[
    "/usr/lib/ipxe/qemu/pxe-virtio.rom",
    "/usr/share/qemu/pxe-virtio.rom",
    "/usr/share/ipxe/qemu/pxe-virtio.rom",
    "/usr/share/ipxe/1af41000.rom",
];

/// SeaBIOS. QEMU finds the file by itself; set-up checks only that it exists.
pub const SEABIOS: &[&str] =
    &["/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/bios-256k.bin", "/usr/share/seabios/bios.bin"];

/// The first of `candidates` that exists as a file.
#[must_use]
pub fn first(candidates: &[&str]) -> Option<PathBuf> {
    candidates.iter().map(Path::new).find(|f| f.is_file()).map(Path::to_owned)
}

/// The first pair of code and variables that exists.
#[must_use]
pub fn first_pair(candidates: &[[&str; 2]]) -> Option<[PathBuf; 2]> {
    candidates.iter().map(|pair| pair.map(PathBuf::from)).find(|pair| pair.iter().all(|f| f.is_file()))
}

/// Like [`first`], with an error that names the remedy.
///
/// # Errors
/// If none of the files exists.
pub fn require(what: &str, candidates: &[&str]) -> Result<PathBuf> {
    first(candidates).with_context(|| format!("{what} is not installed: run `cargo xtask setup`"))
}

/// iPXE for UEFI, as a program that firmware loads over the network.
pub const IPXE_LOADERS: &[&str] = &[
    "/usr/lib/ipxe/snponly.efi",
    "/usr/share/ipxe/ipxe-snponly-x86_64.efi",
    "/usr/share/ipxe/snponly-x86_64.efi",
    "/usr/share/ipxe/x86_64/snponly.efi",
];
