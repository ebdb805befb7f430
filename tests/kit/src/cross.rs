//! A toolchain in the user's cache that builds pxed for an architecture of [`Arch`], against Debian 12's C library.
//!
//! ```text
//! tree/usr      Debian's rustc-web, with the standard library for both architectures
//! sysroot/ARCH  headers, libraries and start files of Debian 12's C library
//! bin/rustc     the compiler
//! bin/cc-ARCH   the C compiler and linker: this host's, made to use that sysroot
//! ```
//!
//! The program needs no newer glibc than Debian 12's headers and libraries know, whatever the host has, and so runs on
//! older distributions than the host. `pxe-packaging` checks the version that the program needs. These builds neither use
//! nor change the host's rustup toolchain, which may lack the standard library of the other architecture.
//!
//! Callers use [`Toolchain::cargo`], which is `cargo` with all variables set. They must not set `RUSTFLAGS` on it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt::{Apt, Archive, Source};
use crate::arch::Arch;
use crate::{cache, command, unpacked};

/// The name in the cache. Change the number if the contents change.
const NAME: &str = "cross-1";
/// The package of the standard library, unpacked for each architecture. The compiler is unpacked for the host only.
const STD: &str = "libstd-rust-web-dev";
/// The C library with its headers. libgcc_s is included: Rust links it, and it also has versioned symbols. The other parts
/// of GCC in a program (start files, libgcc.a) come from the C compiler and need no particular glibc.
const C_LIBRARY: [&str; 4] = ["libc6", "libc6-dev", "linux-libc-dev", "libgcc-s1"];
/// The variable that names the C compiler for `bin/cc-ARCH`.
const CC: &str = "PXED_CROSS_CC";

/// The toolchain that builds for one architecture.
#[derive(Clone, Debug)]
pub struct Toolchain {
    folder: PathBuf,
    arch: Arch,
    cc: PathBuf,
}

impl Toolchain {
    /// Takes the toolchain from the cache. The first call makes it, in a minute or two.
    ///
    /// # Errors
    /// If Debian's archive is not reachable, or there is no C compiler.
    pub fn ensure(arch: Arch) -> Result<Self> {
        let cc = c_compiler(arch).with_context(|| {
            format!("there is no C compiler for {}: run `cargo xtask setup`", arch.debian())
        })?;
        let folder = cache::folder(NAME, make).context("cannot make the toolchain for releases")?;
        Ok(Self { folder, arch, cc })
    }

    /// The tree with Debian 12's C library.
    #[must_use]
    pub fn sysroot(&self) -> PathBuf {
        self.folder.join("sysroot").join(self.arch.debian())
    }

    /// The version that the compiler prints: `rustc 1.96.0 (...)`.
    ///
    /// # Errors
    /// If it does not run.
    pub fn version(&self) -> Result<String> {
        Ok(command::output(Command::new(self.rustc()).arg("--version"))?.trim().to_owned())
    }

    /// `cargo build --target ...` with this toolchain. The output contains no path of this machine.
    ///
    /// # Errors
    /// If the environment has neither `CARGO_HOME` nor `HOME`.
    pub fn cargo(&self) -> Result<Command> {
        let mut cargo = command::cargo();
        cargo.args(["build", "--target", self.arch.target()]);
        cargo.env("RUSTC", self.rustc()).env_remove("RUSTFLAGS").env_remove("RUSTC_WRAPPER");
        let cc = self.folder.join("bin").join(format!("cc-{}", self.arch.debian()));
        let lower = self.arch.target().replace('-', "_");
        cargo.env(format!("CARGO_TARGET_{}_LINKER", lower.to_uppercase()), &cc);
        cargo.env(format!("CC_{lower}"), &cc).env(CC, &self.cc);
        let places = self.places()?;
        // Later options override earlier ones, so the outermost folder comes first.
        let rust = places.iter().map(|(from, to)| joined("--remap-path-prefix=", from, to));
        let c = places.iter().map(|(from, to)| joined("-ffile-prefix-map=", from, to));
        cargo.env("CARGO_ENCODED_RUSTFLAGS", rust.collect::<Vec<_>>().join("\x1f".as_ref()));
        cargo.env(format!("CFLAGS_{lower}"), c.collect::<Vec<_>>().join(" ".as_ref()));
        Ok(cargo)
    }

    /// Folders of this machine, with their names in the output.
    fn places(&self) -> Result<Vec<(PathBuf, &'static str)>> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo = cargo.or_else(|| Some(home.clone()?.join(".cargo")));
        let cargo = cargo.context("neither CARGO_HOME nor HOME is set")?;
        let mut places: Vec<_> = home.map(|home| (home, "/home")).into_iter().collect();
        places.extend([(command::workspace().to_owned(), "/pxed"), (command::target_dir(), "/target")]);
        places.extend([(self.folder.clone(), "/toolchain"), (cargo.clone(), "/cargo")]);
        let registries = fs::read_dir(cargo.join("registry/src")).into_iter().flatten().flatten();
        places.extend(registries.map(|registry| (registry.path(), "/crates")));
        Ok(places)
    }

    fn rustc(&self) -> PathBuf {
        self.folder.join("bin/rustc")
    }
}

/// `OPTION FROM=TO`, in one word.
fn joined(option: &str, from: &Path, to: &str) -> OsString {
    let mut word = OsString::from(option);
    word.push(from);
    word.push("=");
    word.push(to);
    word
}

/// The C compiler for an architecture. The host's own compiler builds for amd64 only.
fn c_compiler(arch: Arch) -> Option<PathBuf> {
    let names: &[&str] = match arch {
        Arch::Amd64 => &["x86_64-linux-gnu-gcc", "gcc", "cc"],
        Arch::Arm64 => &["aarch64-linux-gnu-gcc"],
    };
    names.iter().find_map(|name| command::find(name))
}

fn make(folder: &Path) -> Result<()> {
    println!("cross: fetching Debian's compiler and C libraries (250 MB; unpacked, not installed)");
    unpacked::make(folder, &["rustc-web", STD], &["rustc"])?;
    let lists = folder.join("apt");
    for arch in Arch::ALL {
        let apt = Apt::new(&lists, arch, unpacked::SOURCES)?;
        if arch != Arch::HOST {
            apt.unpack(STD, &folder.join("tree"))?;
        }
        let sysroot = folder.join("sysroot").join(arch.debian());
        fs::create_dir_all(&sysroot)?;
        let c_library = Apt::new(&lists, arch, C_SOURCES)?;
        for package in C_LIBRARY {
            c_library.unpack(package, &sysroot)?;
        }
        make_relative(&sysroot, arch)?;
        write_cc(&folder.join("bin"), arch)?;
        fs::remove_dir_all(&lists)?;
    }
    Ok(())
}

/// The C library's sources. That they equal the compiler's is a coincidence: these decide on which distributions pxed runs.
const C_SOURCES: &[Source] = &[
    Source { archive: Archive::Main, suite: "bookworm" },
    Source { archive: Archive::Security, suite: "bookworm-security" },
];

/// Makes absolute links relative: some links for the linker name `/lib/...`, which would be the host's library.
fn make_relative(sysroot: &Path, arch: Arch) -> Result<()> {
    let folder = sysroot.join("usr/lib").join(arch.gnu());
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let link = entry?.path();
        let Ok(to) = fs::read_link(&link) else { continue };
        let Ok(below) = to.strip_prefix("/") else { continue };
        fs::remove_file(&link)?;
        symlink(Path::new("../../..").join(below), &link)?;
    }
    Ok(())
}

/// Writes a script that calls GCC with the sysroot. Our folders come before GCC's own list, because a cross compiler finds
/// the host's C library of the architecture even with `--sysroot`. The build ID lets debuggers find the separate symbols;
/// not every distribution's GCC requests one.
fn write_cc(bin: &Path, arch: Arch) -> Result<()> {
    let file = bin.join(format!("cc-{}", arch.debian()));
    let (debian, gnu) = (arch.debian(), arch.gnu());
    let text = format!(
        "#!/bin/sh\n\
         root=$(dirname \"$(dirname \"$(realpath \"$0\")\")\")/sysroot/{debian}\n\
         exec \"${{{CC}:?names the C compiler for {debian}}}\" --sysroot=\"$root\" \\\n  \
         -isystem \"$root/usr/include/{gnu}\" -isystem \"$root/usr/include\" \\\n  \
         -B\"$root/usr/lib/{gnu}\" -L\"$root/usr/lib/{gnu}\" -L\"$root/lib/{gnu}\" \\\n  \
         -Wl,--build-id=sha1 \"$@\"\n"
    );
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_and_its_new_name_are_one_word() {
        assert_eq!(joined("--x=", Path::new("/a b"), "/c"), "--x=/a b=/c");
    }

    #[test]
    fn absolute_links_of_a_sysroot_become_relative() {
        let sysroot = std::env::temp_dir().join(format!("pxed-sysroot-{}", std::process::id()));
        let folder = sysroot.join("usr/lib/aarch64-linux-gnu");
        fs::create_dir_all(&folder).unwrap();
        symlink("/lib/aarch64-linux-gnu/libm.so.6", folder.join("libm.so")).unwrap();
        symlink("libx.so.1", folder.join("libx.so")).unwrap();
        make_relative(&sysroot, Arch::Arm64).unwrap();
        let links = ["libm.so", "libx.so"].map(|name| fs::read_link(folder.join(name)).unwrap());
        fs::remove_dir_all(&sysroot).unwrap();
        assert_eq!(links[0], Path::new("../../../lib/aarch64-linux-gnu/libm.so.6"));
        assert_eq!(links[1], Path::new("libx.so.1"));
    }
}
