//! Boot loaders that this host need not have, for tests: Debian's, unpacked into the cache and not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use pxe_kit::apt::{Apt, Archive, Source};
use pxe_kit::arch::Arch;
use pxe_kit::{cache, command, unpacked};

/// The folders in the cache: others when what is in them changes.
const GRUB: &str = "grub-1";
const IPXE: &str = "ipxe-1";
const SIGNED: &str = "signed-1";
/// What GRUB is made of.
const GRUB_PACKAGES: [&str; 3] = ["grub-common", "grub-pc-bin", "grub-efi-amd64-bin"];
const GRUB_TOOL: &str = "grub-mkimage";
/// Debian 13: its iPXE fetches `autoexec.ipxe` before it has an address. Older ones do not.
const TRIXIE: &[Source] = &[Source { archive: Archive::Main, suite: "trixie" }];

/// What firmware starts a loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// The PXE ROM of a BIOS machine.
    Bios,
    /// UEFI, x64.
    X64,
}

impl Platform {
    /// The folder of GRUB's modules, the image's format, and the modules for the network card and for what is started.
    fn grub_words(self) -> [&'static str; 4] {
        match self {
            Self::Bios => ["i386-pc", "i386-pc-pxe", "pxe", "linux"],
            Self::X64 => ["x86_64-efi", "x86_64-efi", "efinet", "chain"],
        }
    }
}

/// Writes GRUB with its own network stack, its module `http`, and `linux` (BIOS) or `chain` (UEFI) to `to`. It does what
/// `config` says, and loads no module.
///
/// # Errors
/// When Debian's archive cannot be reached, or the image cannot be made.
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
    /// The first, which firmware loads.
    pub shim: PathBuf,
    /// The second, which shim loads as `grubx64.efi` from beside itself.
    pub grub: PathBuf,
}

/// What machines with Secure Boot start Debian with.
///
/// # Errors
/// When Debian's archive cannot be reached.
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

/// Debian 13's iPXE for UEFI machines, x64, which uses the firmware's network.
///
/// # Errors
/// When Debian's archive cannot be reached.
pub fn ipxe_of_2025() -> Result<PathBuf> {
    let folder = cache::folder(IPXE, |folder| {
        let lists = folder.join("apt");
        fs::create_dir_all(&lists)?;
        Apt::new(&lists, Arch::HOST, TRIXIE)?.unpack("ipxe", folder)?;
        Ok(fs::remove_dir_all(lists)?)
    })?;
    Ok(folder.join("usr/lib/ipxe/snponly.efi"))
}
