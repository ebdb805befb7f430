//! Debian's boot loaders for tests, unpacked into the cache and not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use pxe_kit::apt::{Apt, Archive, Source};
use pxe_kit::arch::Arch;
use pxe_kit::{cache, command, unpacked};

/// The folders in the cache. Change the number if the contents change.
const GRUB: &str = "grub-1";
const IPXE: &str = "ipxe-1";
const SIGNED: &str = "signed-1";
/// The packages with GRUB's modules and its tool.
const GRUB_PACKAGES: [&str; 3] = ["grub-common", "grub-pc-bin", "grub-efi-amd64-bin"];
const GRUB_TOOL: &str = "grub-mkimage";
/// Debian 13: its iPXE fetches `autoexec.ipxe` before it has an address. Older ones do not.
const TRIXIE: &[Source] = &[Source { archive: Archive::Main, suite: "trixie" }];

/// The firmware that starts a loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// The PXE ROM of a BIOS machine.
    Bios,
    /// UEFI for x64.
    X64,
}

impl Platform {
    /// The folder of GRUB's modules, the image's format, the module for the network card, and the one that starts a
    /// program.
    fn grub_words(self) -> [&'static str; 4] {
        match self {
            Self::Bios => ["i386-pc", "i386-pc-pxe", "pxe", "linux"],
            Self::X64 => ["x86_64-efi", "x86_64-efi", "efinet", "chain"],
        }
    }
}

/// Writes a GRUB image with its own network stack, the module `http`, and `linux` (BIOS) or `chain` (UEFI) to `to`. The
/// image executes `config` and loads no further module.
///
/// # Errors
/// If Debian's archive is not reachable, or GRUB's tool fails.
pub fn grub(platform: Platform, config: &str, to: &Path) -> Result<()> {
    let folder = cache::folder(GRUB, |folder| unpacked::make(folder, &GRUB_PACKAGES, &[GRUB_TOOL]))?;
    let [modules, format, card, start] = platform.grub_words();
    let script = to.with_extension("early.cfg");
    fs::write(&script, config)?;
    let mut make = Command::new(folder.join("bin").join(GRUB_TOOL));
    make.arg("--directory").arg(folder.join("tree/usr/lib/grub").join(modules));
    make.args(["--format", format, "--prefix", "/grub", "--config"]).arg(&script);
    make.arg("--output").arg(to).args([card, "net", "http", start, "boot"]);
    command::output(&mut make)?;
    Ok(fs::remove_file(script)?)
}

/// Debian 13's shim, signed by Microsoft, and its network GRUB, signed by Debian.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The program that firmware loads.
    pub shim: PathBuf,
    /// The program that shim loads from its own directory, as `grubx64.efi`.
    pub grub: PathBuf,
}

/// The boot loaders with which machines with Secure Boot start Debian.
///
/// # Errors
/// If Debian's archive is not reachable.
pub fn signed() -> Result<Signed> {
    let folder = cache::folder(SIGNED, |folder| {
        let lists = folder.join("apt");
        fs::create_dir_all(&lists)?;
        let apt = Apt::new(&lists, Arch::HOST, TRIXIE)?;
        for package in ["shim-signed", "grub-efi-amd64-signed"] {
            apt.unpack(package, folder)?;
        }
        Ok(fs::remove_dir_all(lists)?)
    })?;
    Ok(Signed {
        shim: folder.join("usr/lib/shim/shimx64.efi.signed"),
        grub: folder.join("usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"),
    })
}

/// Debian 13's iPXE for UEFI on x64, which uses the firmware's network driver.
///
/// # Errors
/// If Debian's archive is not reachable.
pub fn ipxe_of_2025() -> Result<PathBuf> {
    let folder = cache::folder(IPXE, |folder| {
        let lists = folder.join("apt");
        fs::create_dir_all(&lists)?;
        Apt::new(&lists, Arch::HOST, TRIXIE)?.unpack("ipxe", folder)?;
        Ok(fs::remove_dir_all(lists)?)
    })?;
    Ok(folder.join("usr/lib/ipxe/snponly.efi"))
}
