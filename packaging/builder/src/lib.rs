//! `cargo xtask release`: everything that a release is made of, and the checks of it.
//!
//! ```text
//! program   the program: built by pxe_kit::cross, stripped; what must hold for it anywhere
//! assets    man pages and completions, which the program writes itself
//! deb       the Debian package: cargo-deb, by the table in pxe-user/pxed/Cargo.toml and the files in packaging/
//! rpm       the RPM package: cargo-generate-rpm, by another table there
//! archive   the same files for systems without a package; the symbols
//! sbom      what is built into the program and into its kernel side, in CycloneDX's format
//! contents  what each of these must hold
//! lint      the distributions' checkers
//! recipes   what holds for packaging/'s recipes for other systems, as far as a test can see
//! ```
//!
//! The tests package their own program in the same way: [`Packages::of`]. Nothing here needs root.

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

/// The version of this release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Where it goes, in the workspace.
const FOLDER: &str = "out/release";
/// The part of a package's version that is the packages' own: what both tools take.
const REVISION: &str = "1";

/// How much is done to make packages small.
#[derive(Clone, Copy, Debug)]
enum Effort {
    /// For a test.
    Quick,
    /// For a release.
    Small,
}

/// The packages for one architecture.
#[derive(Clone, Debug)]
pub struct Packages {
    /// Debian's.
    pub deb: PathBuf,
    /// RPM.
    pub rpm: PathBuf,
    /// The archive.
    pub archive: PathBuf,
}

impl Packages {
    /// Their names in a folder.
    fn named(folder: &Path, arch: Arch) -> Self {
        Self {
            deb: folder.join(format!("pxed_{VERSION}-{REVISION}_{}.deb", arch.debian())),
            rpm: folder.join(format!("pxed-{VERSION}-{REVISION}.{}.rpm", arch.machine())),
            archive: folder.join(format!("{}.tar.gz", Self::archive_name(arch))),
        }
    }

    /// Those that `cargo xtask release` has put into a folder.
    ///
    /// # Errors
    /// When one is not there.
    pub fn in_folder(folder: &Path, arch: Arch) -> Result<Self> {
        let packages = Self::named(folder, arch);
        for file in [&packages.deb, &packages.rpm, &packages.archive] {
            ensure!(file.is_file(), "there is no {}", file.display());
        }
        Ok(packages)
    }

    /// Those of a program that is built already, stripped here, with the man pages of one that runs on this host.
    ///
    /// # Errors
    /// When a tool fails, or a package does not hold what it should.
    pub fn of(program: &Path, host: &Path, arch: Arch, folder: &Path) -> Result<Self> {
        let _lock = assets::lock()?;
        assets::write(host)?;
        let stripped = folder.join("pxed-stripped");
        program::strip(arch, program, &stripped)?;
        let packages = Self::pack(&stripped, arch, folder, Effort::Quick);
        fs::remove_file(stripped)?;
        packages
    }

    /// Packs a stripped program. `target/assets` must be there.
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

    /// The folder in the archive, and the archive's name without its ending.
    #[must_use]
    pub fn archive_name(arch: Arch) -> String {
        archive::name(arch)
    }
}

/// Builds everything into `out/release`, checks it, and says what is there. Without an architecture it is for all.
///
/// # Errors
/// When a tool is missing, the program does not compile, or a check fails; with what is wrong.
pub fn run(only: Option<Arch>) -> Result<()> {
    let folder = command::workspace().join(FOLDER);
    // Whole or not at all: what an earlier run has left must not lie beside other sums.
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

/// Man pages and completions, the same for all architectures, by a program that runs here.
fn write_assets_of(program: &Program) -> Result<()> {
    if program.arch == Arch::HOST {
        return assets::write(&program.file);
    }
    command::run(command::cargo().args(["build", "--locked", "--package", "pxed"]))?;
    assets::write(&command::target_dir().join("debug/pxed"))
}

/// The time that files in packages have: that of the last commit, so that a commit gives the same files again. What the
/// environment says goes before, as everywhere.
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
    // Without git there is nothing to compare with.
    if command::output(&mut git).is_ok_and(|changes| !changes.is_empty()) {
        println!(
            "release: the work tree has changes that are not committed, so no commit gives these files again"
        );
    }
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = entries.collect::<Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}
