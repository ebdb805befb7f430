//! A guest that is a whole Debian system with systemd, for tests of the package and its service.
//!
//! mmdebstrap makes the system once, as an initramfs in the user's cache. A second archive, appended to it, contains the
//! kernel's modules, the program `/cases/run`, which systemd starts, and the files that this program needs.

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

/// The system's name in the cache. Change the number if its contents change.
const NAME: &str = "system-trixie-1";
/// The system's packages beside the essential ones.
const PACKAGES: &str = "systemd-sysv,kmod,iproute2,curl";
/// The limit for the guest. It is emulated, starts services, and installs a package.
const LIMIT: Duration = Duration::from_secs(1200);
/// The guest's memory in MiB. It holds the system, and until that is unpacked also the archive.
const MEMORY: u32 = 1024;
/// Kernel arguments that start only the service of the cases and its dependencies. `condition-needs-update=0` skips the
/// services that rebuild caches after an update.
const OPTIONS: &str = "systemd.unit=cases.service systemd.condition-needs-update=0 systemd.show_status=auto";

/// The parts of the guest.
#[derive(Debug)]
pub struct System<'a> {
    /// The kernel to boot.
    pub kernel: &'a Fetched,
    /// The program that systemd starts. It writes a line about each case, as the other guests do.
    pub cases: &'a Path,
    /// Files for the program, with their paths in the guest.
    pub files: &'a [(&'a Path, &'a str)],
    /// The folder for the initramfs and the output of the serial ports.
    pub folder: &'a Path,
}

impl System<'_> {
    /// Boots the system, and waits until it powers itself off.
    ///
    /// # Errors
    /// If the system cannot be made or started, or does not end in time. The error contains the end of the console.
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

    /// Writes both archives into one file. The kernel unpacks all archives of a file.
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

/// Takes the system from the cache. The first call makes it, which needs a minute or two and root.
///
/// # Errors
/// If Debian's archive is not reachable, or mmdebstrap is missing.
pub fn fetch_system() -> Result<PathBuf> {
    let folder = cache::folder(&place(NAME), make)
        .with_context(|| format!("cannot make a system of Debian {SUITE}"))?;
    Ok(folder.join("system.cpio"))
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let archive = folder.join("system.cpio");
    // As one file, because the user's cache cannot hold a tree with files of other owners.
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
