//! Fetches and unpacks Debian's packages by apt and dpkg with a separate configuration. The system's package lists and
//! sources stay unused and unchanged, and nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::arch::Arch;
use crate::command;

/// The keys that sign all Debian releases.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One of Debian's archives. Its address comes from this host's own apt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    /// The archive of releases.
    Main,
    /// The archive of security updates.
    Security,
}

impl Archive {
    /// The archive's address: from the environment, else from the system's package sources.
    pub fn address(self) -> Result<String> {
        let (variable, label) = match self {
            Self::Main => ("PXED_DEBIAN_MIRROR", "Debian"),
            Self::Security => ("PXED_DEBIAN_SECURITY_MIRROR", "Debian-Security"),
        };
        if let Ok(address) = std::env::var(variable) {
            return Ok(address);
        }
        let format = "$(LABEL) $(REPO_URI)";
        let targets = ["indextargets", "--format", format, "Created-By: Packages"];
        let known = command::output(Command::new("apt-get").args(targets))?;
        labelled(&known, label).with_context(|| {
            format!("this host's apt has no source labelled {label}. Set the variable {variable} to a mirror")
        })
    }
}

/// The address behind the first line with this label.
fn labelled(known: &str, label: &str) -> Option<String> {
    let mut lines = known.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(found, _)| *found == label).map(|(_, address)| address.trim_end_matches('/').to_owned())
}

/// One suite of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The archive that the suite belongs to.
    pub archive: Archive,
    /// The suite's name, for example `bookworm`.
    pub suite: &'static str,
}

/// An apt with package lists of its own, for one architecture.
pub struct Apt {
    folder: PathBuf,
    arch: Arch,
}

impl Apt {
    /// Downloads the package lists of `sources` into `folder`.
    pub fn new(folder: &Path, arch: Arch, sources: &[Source]) -> Result<Self> {
        for tool in ["apt-get", "apt-cache", "dpkg-deb"] {
            ensure!(command::find(tool).is_some(), "`{tool}` is not installed: install apt and dpkg");
        }
        ensure!(
            Path::new(KEYRING).is_file(),
            "Debian's keys are not in {KEYRING}: install debian-archive-keyring"
        );
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let mut list = String::new();
        for source in sources {
            let address = source.archive.address()?;
            let (arch, suite) = (arch.debian(), source.suite);
            list += &format!("deb [arch={arch} signed-by={KEYRING}] {address} {suite} main\n");
        }
        fs::write(folder.join("sources.list"), list)?;
        fs::write(folder.join("status"), "")?;
        let apt = Self { folder: folder.to_owned(), arch };
        command::output(apt.command("apt-get").args(["update", "--error-on=any"]))?;
        Ok(apt)
    }

    /// The names of the packages that `package` depends on. Of alternatives, only the first.
    pub fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let shown = command::output(self.command("apt-cache").args(["show", "--no-all-versions", package]))?;
        Ok(dependencies(&shown))
    }

    /// Fetches a package, and unpacks it below `tree`.
    pub fn unpack(&self, package: &str, tree: &Path) -> Result<()> {
        command::output(self.command("apt-get").args(["download", package]))?;
        let is_deb = |path: &PathBuf| path.extension().is_some_and(|end| end == "deb");
        let entries = fs::read_dir(&self.folder)?;
        let deb = entries.filter_map(|e| Some(e.ok()?.path())).find(is_deb);
        let deb = deb.with_context(|| format!("apt-get brought no package for {package}"))?;
        command::output(Command::new("dpkg-deb").arg("--extract").arg(&deb).arg(tree))?;
        fs::remove_file(deb)?;
        Ok(())
    }

    /// Unpacks packages below `tree`, with all libraries that they need except the C library, which stays the host's.
    /// The caller must name other packages that they depend on.
    pub fn unpack_with_libraries(&self, packages: &[&str], tree: &Path) -> Result<()> {
        let mut wanted: Vec<String> = packages.iter().map(|&package| package.to_owned()).collect();
        let mut at = 0;
        while let Some(next) = wanted.get(at).cloned() {
            self.unpack(&next, tree)?;
            for needed in self.dependencies(&next)? {
                if is_library(&needed) && !wanted.contains(&needed) {
                    wanted.push(needed);
                }
            }
            at += 1;
        }
        Ok(())
    }

    fn command(&self, tool: &str) -> Command {
        let mut apt = Command::new(tool);
        // Options of the command line override all files. Proxies stay as the system has them.
        let ours = |name: &str, below: &str| format!("{name}={}", self.folder.join(below).display());
        for option in [
            ours("Dir::Etc::sourcelist", "sources.list"),
            ours("Dir::State", "."),
            ours("Dir::State::lists", "lists"),
            ours("Dir::State::status", "status"),
            ours("Dir::Cache", "cache"),
            // Container images disable these caches. Then each call parses all lists again, which takes seconds.
            ours("Dir::Cache::pkgcache", "cache/pkgcache.bin"),
            ours("Dir::Cache::srcpkgcache", "cache/srcpkgcache.bin"),
            "Dir::Etc::sourceparts=/dev/null".into(),
            format!("APT::Architecture={}", self.arch.debian()),
            // Ignore the foreign architectures of this host's dpkg.
            format!("APT::Architectures={}", self.arch.debian()),
            // As root, apt would switch to a user without write access to this folder.
            "APT::Sandbox::User=".into(),
            "Acquire::Languages=none".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
        ] {
            apt.arg("-o").arg(option);
        }
        apt.arg("-q").current_dir(&self.folder);
        apt
    }
}

fn dependencies(shown: &str) -> Vec<String> {
    let lines = shown.lines().filter_map(|line| line.strip_prefix("Depends: "));
    let name = |item: &str| item.split_whitespace().next().map(str::to_owned);
    lines.flat_map(|line| line.split(',')).filter_map(name).collect()
}

/// Whether a dependency is a library that can come from another release than this host.
fn is_library(package: &str) -> bool {
    // The C library must match the host's dynamic loader.
    package.starts_with("lib") && !["libc6", "libc-dev", "libgcc-s1", "libcrypt1"].contains(&package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_library_stays_the_hosts() {
        assert!(is_library("libwrap0"));
        assert!(!is_library("libc6"));
        assert!(!is_library("debconf"));
    }

    #[test]
    fn an_archive_is_known_by_its_label() {
        let known = "Ubuntu http://mirror.example/ubuntu/\nDebian-Security http://mirror.example/security/\n\
                     Debian http://mirror.example/debian/\n";
        assert_eq!(labelled(known, "Debian").as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(labelled(known, "Debian-Security").as_deref(), Some("http://mirror.example/security"));
        assert_eq!(labelled("Ubuntu http://mirror.example/ubuntu/\n", "Debian"), None);
    }

    #[test]
    fn dependencies_are_names_only() {
        let shown = "Package: linux-image-amd64\n\
                     Depends: linux-base-7.3 (= 7.3.4-1), dracut | initramfs-tools (>= 0.1), kmod\n\
                     Description: Depends: nothing\n";
        assert_eq!(dependencies(shown), ["linux-base-7.3", "dracut", "kmod"]);
        assert!(dependencies("Package: x\n").is_empty());
    }
}
