//! Builds the programs of a guest, and finds their libraries.
//!
//! For this host's architecture, they are the ordinary build, with the host's libraries and its `ip`. For another one,
//! [`pxe_kit::cross`] builds them as for a release, with the libraries of the toolchain's sysroot and Debian's `ip`.
//! Both are linked dynamically, as users get them. A static glibc could also not look up user names.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pxe_kit::apt::Apt;
use pxe_kit::arch::Arch;
use pxe_kit::cross::Toolchain;
use pxe_kit::elf::Needs;
use pxe_kit::{cache, command, unpacked};

use pxe_memtest::{Initramfs, libraries};

/// The name in the cache of Debian's programs for another architecture. Change the number if the contents change.
const TOOLS: &str = "guest-tools-1";
/// The packages: `ip`, and a library without `lib` in its package's name.
const TOOLS_PACKAGES: [&str; 2] = ["iproute2", "zlib1g"];

/// The programs of a guest that this workspace builds.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The programs' architecture.
    pub arch: Arch,
    /// The guest's first process: the tests' program `guest`.
    pub guest: PathBuf,
    /// The daemon `pxed`.
    pub pxed: PathBuf,
}

impl Programs {
    /// Builds both programs.
    ///
    /// # Errors
    /// If they do not compile, or the toolchain for another architecture cannot be made.
    pub fn build(arch: Arch) -> Result<Self> {
        const PACKAGES: [&str; 5] = ["--package", "pxed", "--package", "pxe-tests", "--bins"];
        let target = command::target_dir();
        let folder = if arch == Arch::HOST {
            command::run(command::cargo().arg("build").args(PACKAGES))?;
            target.join("debug")
        } else {
            command::run(Toolchain::ensure(arch)?.cargo()?.args(PACKAGES))?;
            target.join(arch.target()).join("debug")
        };
        Ok(Self { arch, guest: folder.join("guest"), pxed: folder.join("pxed") })
    }

    /// Puts the programs into an archive: `/init`, `/bin/pxed`, and `/bin/ip`.
    pub(super) fn add_to(&self, archive: &mut Initramfs) -> Result<()> {
        let ours = [(&*self.guest, "init"), (&*self.pxed, "bin/pxed")];
        if self.arch == Arch::HOST {
            let ip = command::find("ip").context("`ip` is not installed: run `cargo xtask setup`")?;
            return Ok(libraries::add(archive, &[ours[0], ours[1], (&ip, "bin/ip")])?);
        }
        let tools = cache::folder(&format!("{TOOLS}/{}", self.arch.debian()), |to| fetch(self.arch, to))?;
        let trees = [Toolchain::ensure(self.arch)?.sysroot(), tools.clone()];
        let ip = ["bin/ip", "usr/bin/ip"].map(|ip| tools.join(ip)).into_iter().find(|ip| ip.exists());
        let ip = ip.context("Debian's package contains no `ip`")?;
        add_foreign(archive, self.arch, &[ours[0], ours[1], (&ip, "bin/ip")], &trees)
    }
}

/// Unpacks Debian's `ip` of another architecture into a folder.
fn fetch(arch: Arch, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let lists = folder.join("apt");
    Apt::new(&lists, arch, unpacked::SOURCES)?.unpack_with_libraries(&TOOLS_PACKAGES, folder)?;
    Ok(fs::remove_dir_all(lists)?)
}

/// Puts programs of another architecture into an archive, with their libraries from unpacked Debian packages.
fn add_foreign(
    archive: &mut Initramfs,
    arch: Arch,
    programs: &[(&Path, &str)],
    trees: &[PathBuf],
) -> Result<()> {
    for (program, to) in programs {
        archive.copy(program, to)?;
    }
    let first = programs.iter().map(|(program, _)| program.to_path_buf()).collect();
    for (to, library) in foreign_libraries(arch, first, trees)? {
        archive.copy(&library, &to)?;
    }
    Ok(())
}

/// The dynamic loaders and libraries of programs and of their libraries, by their paths in the guest.
fn foreign_libraries(
    arch: Arch,
    mut files: VecDeque<PathBuf>,
    trees: &[PathBuf],
) -> Result<BTreeMap<String, PathBuf>> {
    let folders = arch.libraries();
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    while let Some(file) = files.pop_front() {
        let needs = Needs::of(&file, arch)?;
        let named =
            needs.libraries.iter().map(|name| folders.iter().map(|f| format!("{f}/{name}")).collect());
        let loader = needs.loader.map(|loader| vec![loader.trim_start_matches('/').to_owned()]);
        for places in named.chain(loader).collect::<Vec<Vec<String>>>() {
            if places.iter().any(|place| found.contains_key(place)) {
                continue;
            }
            let pairs =
                places.iter().flat_map(|place| trees.iter().map(move |tree| (place, tree.join(place))));
            let (place, library) = pairs.into_iter().find(|(_, path)| path.exists()).with_context(|| {
                format!("{} needs a library that no package contains: {places:?}", file.display())
            })?;
            found.insert(place.clone(), library.clone());
            files.push_back(library);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Compares both ways to find libraries, on this host.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[test]
    fn needed_libraries_are_those_that_ldd_finds() {
        let this = std::env::current_exe().unwrap();
        let by_ldd: BTreeSet<_> = libraries::of(&this)
            .unwrap()
            .iter()
            .filter_map(|path| Some(path.file_name()?.to_owned()))
            .collect();
        let trees = [PathBuf::from("/")];
        // Hosts other than Debian keep libraries in other folders.
        if !Path::new("/usr/lib").join(Arch::HOST.gnu()).is_dir() {
            return;
        }
        let found = foreign_libraries(Arch::HOST, [this].into(), &trees).unwrap();
        let found: BTreeSet<_> =
            found.values().filter_map(|path| Some(path.file_name()?.to_owned())).collect();
        assert_eq!(found, by_ldd);
    }
}
