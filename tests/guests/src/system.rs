//! A guest that is a whole Debian system, with systemd as its first process: for what is installed there, and for its
//! service.
//!
//! The system is made once by mmdebstrap and kept in the user's cache, as an archive that the kernel starts from. A second
//! archive behind it holds the kernel's modules, the program `/cases/run`, which systemd starts, and what that program is
//! about.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use pxe_kit::cache;

use super::bootstrap::{self, SUITE};
use super::guest::{Boot, Report, add_modules};
use super::kernel::{Fetched, place};
use pxe_memtest::Initramfs;

/// Its name in the cache: another one when what is in it changes.
const NAME: &str = "system-trixie-1";
/// What it has beside what is essential.
const PACKAGES: &str = "systemd-sysv,kmod,iproute2,curl";
/// Emulated, with services to start and a package to install.
const LIMIT: Duration = Duration::from_secs(1200);
/// The system lies in memory, and its archive too until it is unpacked. In MiB.
const MEMORY: u32 = 1024;
/// No service but ours and what it needs. Nothing was updated since the system was made, so nothing is to be rebuilt.
const OPTIONS: &str = "systemd.unit=cases.service systemd.condition-needs-update=0 systemd.show_status=auto";

/// A system that can be booted.
#[derive(Debug)]
pub struct System<'a> {
    /// Its kernel.
    pub kernel: &'a Fetched,
    /// The program that systemd starts: it writes a line about each case, as the guests of other kernels do.
    pub cases: &'a Path,
    /// Files for it, and where they go.
    pub files: &'a [(&'a Path, &'a str)],
    /// Where its archive and the texts of its serial ports go.
    pub folder: &'a Path,
}

impl System<'_> {
    /// Boots the system, and waits until it has powered itself off.
    ///
    /// # Errors
    /// When the system cannot be had or started, or does not come to its end in time; with the last lines of its console.
    pub fn run(&self) -> Result<Report> {
        let base = fetch_system()?;
        fs::create_dir_all(self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        let archive = self.folder.join("system.cpio");
        let written = self.write(&base, &archive);
        let boot = Boot {
            kernel: self.kernel,
            archive: &archive,
            options: OPTIONS,
            memory: MEMORY,
            cards: &[],
            limit: LIMIT,
            folder: self.folder,
        };
        let report = written.and_then(|()| boot.run());
        fs::remove_file(&archive)?;
        report
    }

    /// The kernel unpacks archives one behind the other.
    fn write(&self, base: &Path, to: &Path) -> Result<()> {
        let failed = || format!("cannot write {}", to.display());
        let mut out = File::create(to).with_context(failed)?;
        io::copy(&mut File::open(base)?, &mut out).with_context(failed)?;
        out.write_all(&self.archive()?).with_context(failed)
    }

    fn archive(&self) -> Result<Vec<u8>> {
        let mut archive = Initramfs::default();
        archive.console();
        archive.file("init", include_bytes!("system/init.sh"));
        archive.file("etc/systemd/system/cases.service", include_bytes!("system/cases.service"));
        archive.copy(self.cases, "cases/run")?;
        for (from, to) in self.files {
            archive.copy(from, to)?;
        }
        add_modules(&mut archive, self.kernel)?;
        Ok(archive.finish())
    }
}

/// Takes the system from the cache; makes it before that if it is not there, which takes a minute or two and root.
///
/// # Errors
/// When Debian's archive cannot be reached, or mmdebstrap is missing.
pub fn fetch_system() -> Result<PathBuf> {
    let folder = cache::folder(&place(NAME), make)
        .with_context(|| format!("cannot make a system of Debian {SUITE}"))?;
    Ok(folder.join("system.cpio"))
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let archive = folder.join("system.cpio");
    // As one file, since a tree with its owners and modes is nothing that a cache may hold.
    let pack =
        format!("cd \"$1\" && find . -xdev | cpio --quiet --create --format=newc >{}", archive.display());
    let options = [
        format!("--include={PACKAGES}"),
        "--customize-hook=rm -r \"$1\"/var/lib/apt/lists \"$1\"/var/cache/apt".to_owned(),
        format!("--customize-hook={pack}"),
        "--format=null".to_owned(),
    ];
    bootstrap::make(Path::new("/dev/null"), &options)
}
