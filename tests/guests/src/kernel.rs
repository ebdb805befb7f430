//! The list of Debian's kernels that guests boot, and their cache.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use pxe_kit::apt::{Apt, Archive, Source};
use pxe_kit::arch::Arch;
use pxe_kit::cache;
use pxe_memtest::KernelTree;

use super::modules;

/// Change this number if the format of the cache or the list of modules changes.
const CACHE_FORMAT: &str = "1";

/// The modules that guests need. Their dependencies are added automatically.
const MODULES: &[&str] = &["veth", "virtio_pci", "virtio_net"];

/// One of Debian's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The name on the command line, and of the folder in the cache.
    pub name: &'static str,
    /// The architecture of the kernel.
    pub arch: Arch,
    /// The start of the version in `uname -r`. None for the newest kernel.
    pub version: Option<&'static str>,
    /// The package that depends on the suite's current kernel.
    package: &'static str,
    sources: &'static [Source],
}

/// All kernels, oldest first: the oldest that pxed supports, two that are widely used, and Debian's newest. Then one for
/// arm64 that has all features.
pub const KERNELS: &[Kernel] = &[
    Kernel {
        name: "5.10",
        arch: Arch::Amd64,
        version: Some("5.10."),
        package: "linux-image-amd64",
        sources: &[
            Source { archive: Archive::Main, suite: "bullseye" },
            Source { archive: Archive::Security, suite: "bullseye-security" },
        ],
    },
    Kernel {
        name: "6.1",
        arch: Arch::Amd64,
        version: Some("6.1."),
        package: "linux-image-amd64",
        sources: &[
            Source { archive: Archive::Main, suite: "bookworm" },
            Source { archive: Archive::Security, suite: "bookworm-security" },
        ],
    },
    Kernel {
        name: "6.12",
        arch: Arch::Amd64,
        version: Some("6.12."),
        package: "linux-image-6.12-amd64",
        sources: &[Source { archive: Archive::Security, suite: "bookworm-security" }],
    },
    Kernel {
        name: "newest",
        arch: Arch::Amd64,
        version: None,
        package: "linux-image-amd64",
        sources: &[Source { archive: Archive::Main, suite: "trixie-backports" }],
    },
    Kernel {
        name: "arm64",
        arch: Arch::Arm64,
        version: Some("6.12."),
        package: "linux-image-6.12-arm64",
        sources: &[Source { archive: Archive::Security, suite: "bookworm-security" }],
    },
];

impl Kernel {
    /// The kernel with this name.
    ///
    /// # Errors
    /// For an unknown name; the error lists the known ones.
    pub fn named(name: &str) -> Result<&'static Self> {
        let names = || KERNELS.iter().map(|kernel| kernel.name).collect::<Vec<_>>().join(", ");
        let found = KERNELS.iter().find(|kernel| kernel.name == name);
        found.with_context(|| format!("unknown kernel `{name}`; these are: {}", names()))
    }
}

/// A kernel in the cache.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The kernel's architecture.
    pub arch: Arch,
    /// The compressed kernel image.
    pub image: PathBuf,
    /// The modules, in the order of loading.
    pub modules: Vec<PathBuf>,
    /// The version in `uname -r`.
    pub version: String,
}

/// Takes a kernel from the cache. The first call downloads it from Debian; later ones do not look for updates, until
/// [`forget`] removes it. Several processes may call this at once.
///
/// # Errors
/// If Debian's archive is not reachable, or the tools to unpack packages are missing.
pub fn fetch(kernel: &Kernel) -> Result<Fetched> {
    let folder = cache::folder(&place(kernel.name), |unfinished| fetch_into(kernel, unfinished))
        .with_context(|| format!("cannot fetch Debian's {} kernel", kernel.name))?;
    read(kernel.arch, &folder)
}

/// Removes a kernel from the cache, so that [`fetch`] downloads Debian's current one.
///
/// # Errors
/// If the folder cannot be removed.
pub fn forget(kernel: &Kernel) -> Result<()> {
    cache::forget(&place(kernel.name))
}

/// The name in the cache of a kernel, or of a system that boots it.
pub(crate) fn place(name: &str) -> String {
    format!("kernels/{CACHE_FORMAT}/{name}")
}

fn fetch_into(kernel: &Kernel, unfinished: &Path) -> Result<()> {
    let packages = unfinished.join("packages");
    let unpacked = unpack(kernel, &packages)?;
    fs::rename(&unpacked.image, unfinished.join("vmlinuz"))?;
    modules::collect(&unpacked.tree, MODULES, &unfinished.join("modules"))?;
    fs::write(unfinished.join("version"), &unpacked.version)?;
    fs::remove_dir_all(&packages)?;
    Ok(())
}

/// Downloads a kernel's packages into a folder, and unpacks them there.
pub(crate) fn unpack(kernel: &Kernel, folder: &Path) -> Result<KernelTree> {
    let tree = folder.join("tree");
    fs::create_dir_all(&tree)?;
    let apt = Apt::new(&folder.join("apt"), kernel.arch, kernel.sources)?;
    for package in image_packages(&apt, kernel)? {
        apt.unpack(&package, &tree)?;
    }
    let unpacked = KernelTree::all_in(&tree).pop().context("the packages have no kernel image")?;
    if kernel.version.is_some_and(|wanted| !unpacked.version.starts_with(wanted)) {
        bail!("{} contains Linux {}", kernel.package, unpacked.version);
    }
    Ok(unpacked)
}

/// The packages of the current kernel, on which [`Kernel::package`] depends. Newer kernels have image and modules in
/// separate packages.
fn image_packages(apt: &Apt, kernel: &Kernel) -> Result<Vec<String>> {
    let is_kernel = |name: &String| {
        ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"]
            .iter()
            .any(|start| name.starts_with(start))
            && name.contains(|c: char| c.is_ascii_digit())
    };
    let mut packages: Vec<String> = apt.dependencies(kernel.package)?.into_iter().filter(is_kernel).collect();
    for package in packages.clone() {
        packages.extend(apt.dependencies(&package)?.into_iter().filter(is_kernel));
    }
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        bail!("{} depends on no kernel: has Debian renamed its packages?", kernel.package);
    }
    Ok(packages)
}

fn read(arch: Arch, folder: &Path) -> Result<Fetched> {
    let whole = || format!("{} is incomplete: remove it, and try again", folder.display());
    let mut modules = Vec::new();
    for entry in fs::read_dir(folder.join("modules")).with_context(whole)? {
        modules.push(entry?.path());
    }
    modules.sort_unstable();
    let version = fs::read_to_string(folder.join("version")).with_context(whole)?;
    Ok(Fetched { arch, image: folder.join("vmlinuz"), modules, version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_known_by_its_name_only() {
        assert_eq!(Kernel::named("6.1").expect("it is in the list").version, Some("6.1."));
        let error = Kernel::named("6").expect_err("no such name").to_string();
        assert!(error.contains("5.10, 6.1, 6.12, newest, arm64"), "{error}");
    }
}
