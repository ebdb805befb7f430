//! `cargo xtask release`: builds the files of a release, and checks them.
//!
//! ```text
//! program   builds the program by pxe_kit::cross, strips it, and checks what it needs
//! assets    man pages and completions, which the program generates
//! deb       the Debian package: cargo-deb, with the table in pxe-user/pxed/Cargo.toml and the files in packaging/
//! rpm       the RPM package: cargo-generate-rpm, with another table there
//! archive   the archive for systems without a package, and the archive of symbols
//! sbom      the dependencies of the program and of its kernel side, in CycloneDX's format
//! contents  checks the contents of packages
//! lint      runs the distributions' checkers
//! recipes   tests of the recipes for other systems
//! ```
//!
//! The tests package their own program in the same way, by [`Packages::of`]. Nothing here needs root.

mod archive;
mod assets;
mod contents;
mod deb;
mod lint;
mod program;
#[cfg(test)]
mod recipes;
mod rpm;
mod sbom;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pxe_kit::arch::Arch;
use pxe_kit::command;

pub use assets::write as write_assets;
use contents::Kind;
pub use deb::of_program;
use program::Program;

/// The version of the release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The folder of the release, in the workspace.
const FOLDER: &str = "out/release";
/// The revision of the packages, which is the default of both tools.
const REVISION: &str = "1";

/// How much packages are compressed.
#[derive(Clone, Copy, Debug)]
enum Effort {
    /// No compression, for tests.
    Quick,
    /// Full compression, for releases.
    Small,
}

/// The packages for one architecture.
#[derive(Clone, Debug)]
pub struct Packages {
    /// The Debian package.
    pub deb: PathBuf,
    /// The RPM package.
    pub rpm: PathBuf,
    /// The archive for systems without a package.
    pub archive: PathBuf,
}

impl Packages {
    /// The paths of the packages in a folder.
    fn named(folder: &Path, arch: Arch) -> Self {
        Self {
            deb: folder.join(format!("pxed_{VERSION}-{REVISION}_{}.deb", arch.debian())),
            rpm: folder.join(format!("pxed-{VERSION}-{REVISION}.{}.rpm", arch.machine())),
            archive: folder.join(format!("{}.tar.gz", Self::archive_name(arch))),
        }
    }

    /// The packages of `cargo xtask release` in a folder.
    ///
    /// # Errors
    /// If one does not exist.
    pub fn in_folder(folder: &Path, arch: Arch) -> Result<Self> {
        let packages = Self::named(folder, arch);
        for file in [&packages.deb, &packages.rpm, &packages.archive] {
            ensure!(file.is_file(), "there is no {}", file.display());
        }
        Ok(packages)
    }

    /// Strips and packages a built program. `host` is the program that writes the man pages, and must run on this host.
    ///
    /// # Errors
    /// If a tool fails, or a package has wrong contents.
    pub fn of(program: &Path, host: &Path, arch: Arch, folder: &Path) -> Result<Self> {
        let _lock = assets::lock()?;
        assets::write(host)?;
        let stripped = folder.join("pxed-stripped");
        program::strip(arch, program, &stripped)?;
        let packages = Self::pack(&stripped, arch, folder, Effort::Quick);
        fs::remove_file(stripped)?;
        packages
    }

    /// Packages a stripped program. `target/assets` must exist.
    fn pack(program: &Path, arch: Arch, folder: &Path, effort: Effort) -> Result<Self> {
        let packages = Self::named(folder, arch);
        let (deb, rpm): (&[&str], _) = match effort {
            Effort::Quick => (&["--no-strip", "--fast"], "none"),
            Effort::Small => (&["--no-strip"], "zstd"),
        };
        deb::pack(program, arch, &packages.deb, deb).context("cannot make the Debian package")?;
        rpm::pack(program, arch, &packages.rpm, rpm).context("cannot make the RPM package")?;
        archive::pack(program, arch, &packages.archive).context("cannot make the archive")?;
        for (kind, file) in
            [(Kind::Deb, &packages.deb), (Kind::Rpm, &packages.rpm), (Kind::Tar, &packages.archive)]
        {
            contents::check(kind, arch, file)?;
        }
        Ok(packages)
    }

    /// The name of the folder in the archive, which is also the archive's name without extension.
    #[must_use]
    pub fn archive_name(arch: Arch) -> String {
        archive::name(arch)
    }
}

/// Builds a release in `out/release`, checks it, and lists its files. Without `only`, for all architectures.
///
/// # Errors
/// If a tool is missing, the program does not compile, or a check fails.
pub fn run(only: Option<Arch>) -> Result<()> {
    let folder = command::workspace().join(FOLDER);
    // Remove the old release first: its files must not remain beside new checksums.
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    warn_of_changes();
    let _lock = assets::lock()?;
    let arches: Vec<Arch> = only.map_or_else(|| Arch::ALL.to_vec(), |arch| vec![arch]);
    for (number, &arch) in arches.iter().enumerate() {
        let work = command::target_dir().join("release-parts").join(arch.debian());
        let program = Program::build(arch, &work)?;
        program.check()?;
        if number == 0 {
            write_assets_of(&program)?;
        }
        let packages = Packages::pack(&program.file, arch, &folder, Effort::Small)?;
        archive::pack_symbols(&program, &folder.join(format!("{}-debug.tar.gz", archive::name(arch))))?;
        lint::deb(&packages.deb)?;
        lint::rpm(&packages.rpm)?;
    }
    sbom::write(&folder)?;
    let names = names(&folder)?;
    let sums = command::output(Command::new("sha256sum").arg("--").args(&names).current_dir(&folder))?;
    fs::write(folder.join("SHA256SUMS"), sums)?;
    let mut verify = Command::new("sha256sum");
    command::output(verify.args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(&folder))?;
    for name in &names {
        println!("release: {name}, {:.1} MB", fs::metadata(folder.join(name))?.len() as f64 / 1e6);
    }
    println!("release: in {}; docs/package.md says how to try it", folder.display());
    Ok(())
}

/// Writes man pages and completions, which are the same for all architectures, by a program that runs on this host.
fn write_assets_of(program: &Program) -> Result<()> {
    if program.arch == Arch::HOST {
        return assets::write(&program.file);
    }
    command::run(command::cargo().args(["build", "--locked", "--package", "pxed"]))?;
    assets::write(&command::target_dir().join("debug/pxed"))
}

/// The time of all files in packages: `SOURCE_DATE_EPOCH`, or the time of the last commit, so that a commit always
/// gives the same files.
fn epoch() -> Result<String> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    let mut git = Command::new("git");
    let time = command::output(git.args(["log", "-1", "--format=%ct"]).current_dir(command::workspace()));
    Ok(time.context("set SOURCE_DATE_EPOCH where there is no git")?.trim().to_owned())
}

fn warn_of_changes() {
    let mut git = Command::new("git");
    git.args(["status", "--porcelain", "--untracked-files=no"]).current_dir(command::workspace());
    // Without git, nothing can be compared.
    if command::output(&mut git).is_ok_and(|changes| !changes.is_empty()) {
        println!(
            "release: the work tree has uncommitted changes, so these files cannot be reproduced from a commit"
        );
    }
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = entries.collect::<Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}
