//! Builds the program of a release with the profile `dist`, separates its symbols, and checks that it runs on all
//! supported systems.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use object::Object as _;
use pxe_kit::arch::Arch;
use pxe_kit::command;
use pxe_kit::cross::Toolchain;
use pxe_kit::elf::Needs;

/// The newest glibc that the program may need: that of RHEL 9. Ubuntu 22.04 and Debian 12 have newer ones.
pub(super) const GLIBC: (u32, u32) = (2, 34);
/// The libraries that the program may need. `pxe-user/pxed/Cargo.toml` names the packages with these libraries as
/// dependencies.
const LIBRARIES: [&str; 3] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1"];
/// The maximum size. A larger program probably contains an unwanted dependency.
const SIZE: u64 = 16_000_000;

#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) arch: Arch,
    /// The program without symbols.
    pub(super) file: PathBuf,
    /// The symbols for debuggers.
    pub(super) symbols: PathBuf,
    /// The path of the symbols below `/usr/lib/debug/.build-id`, where debuggers look for them.
    pub(super) build_id: String,
}

impl Program {
    /// Builds the program, and writes the stripped program and its symbols to a folder.
    pub(super) fn build(arch: Arch, folder: &Path) -> Result<Self> {
        let toolchain = Toolchain::ensure(arch)?;
        println!("release: {}: cargo builds the program with {}", arch.debian(), toolchain.version()?);
        command::run(toolchain.cargo()?.args(["--locked", "--profile", "dist", "--package", "pxed"]))?;
        let built = command::target_dir().join(arch.target()).join("dist/pxed");
        Self::of(arch, &built, folder)
    }

    fn of(arch: Arch, built: &Path, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let [file, symbols] = ["pxed", "pxed.debug"].map(|name| folder.join(name));
        objcopy(arch, "--only-keep-debug", built, &symbols)?;
        strip(arch, built, &file)?;
        objcopy(arch, "--add-gnu-debuglink=pxed.debug", &file, &file)?;
        let bytes = fs::read(&file)?;
        let elf = object::File::parse(&*bytes)?;
        let id = elf.build_id()?.context("the linker wrote no build ID, so no debugger finds the symbols")?;
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let (start, rest) = id.split_at_checked(2).context("a build ID has more than a byte")?;
        Ok(Self { arch, file, symbols, build_id: format!("{start}/{rest}.debug") })
    }

    /// Fails if the program must not be released, with the reason.
    pub(super) fn check(&self) -> Result<()> {
        self.find_fault()
            .with_context(|| format!("the program for {} must not be released", self.arch.debian()))
    }

    fn find_fault(&self) -> Result<()> {
        let bytes = fs::read(&self.file)?;
        let needs = Needs::parse(&bytes, self.arch)?;
        check_needs(&needs)?;
        let size = bytes.len() as u64;
        ensure!(size < SIZE, "it has {size} bytes; the limit is {SIZE}");
        for file in [&self.file, &self.symbols] {
            names_no_place(&fs::read(file)?)?;
        }
        let (major, minor) = needs.glibc().unwrap_or_default();
        println!(
            "release: {}: {:.1} MB, needs glibc {major}.{minor} and {}",
            self.arch.debian(),
            size as f64 / 1e6,
            needs.libraries.join(", ")
        );
        Ok(())
    }
}

/// Copies a program without its symbols.
pub(super) fn strip(arch: Arch, program: &Path, to: &Path) -> Result<()> {
    objcopy(arch, "--strip-all", program, to)
}

/// Runs binutils' `objcopy` for an architecture.
fn objcopy(arch: Arch, option: &str, from: &Path, to: &Path) -> Result<()> {
    let program = format!("{}-objcopy", arch.gnu());
    let program = command::find(&program).with_context(|| format!("`{program}` is not installed"))?;
    let mut objcopy = Command::new(program);
    objcopy.arg(option).arg(from).arg(to);
    // `--add-gnu-debuglink` reads the file from the current folder.
    objcopy.current_dir(to.parent().unwrap_or(to));
    command::output(&mut objcopy).map(drop)
}

fn check_needs(needs: &Needs) -> Result<()> {
    let Some((major, minor)) = needs.glibc() else { bail!("it needs no version of glibc") };
    ensure!(
        (major, minor) <= GLIBC,
        "it needs glibc {major}.{minor}; the newest allowed is {}.{}",
        GLIBC.0,
        GLIBC.1
    );
    let is_known =
        |library: &&String| LIBRARIES.contains(&library.as_str()) || library.starts_with("ld-linux");
    if let Some(other) = needs.libraries.iter().find(|library| !is_known(library)) {
        bail!("it needs {other}, which the packages do not depend on");
    }
    Ok(())
}

/// Fails if a file contains a path of this machine: that would reveal the build host, and make builds differ.
fn names_no_place(bytes: &[u8]) -> Result<()> {
    let mut places = vec![command::workspace().to_owned(), command::target_dir(), command::cache_dir()?];
    places.extend(["HOME", "CARGO_HOME"].into_iter().filter_map(std::env::var_os).map(PathBuf::from));
    for place in places {
        // With the separator, because `/root` alone is a string of the program. Skip `/`, the home of some containers'
        // users.
        let text = format!("{}/", place.display());
        ensure!(
            text.len() < 3 || memchr::memmem::find(bytes, text.as_bytes()).is_none(),
            "it names the folder {text} of this machine"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(versions: &[&str], libraries: &[&str]) -> Needs {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Needs { loader: None, libraries: owned(libraries), versions: owned(versions) }
    }

    #[test]
    fn too_new_a_libc_and_unknown_libraries_are_refused() {
        check_needs(&needs(&["GLIBC_2.34", "GCC_3.0"], &["libc.so.6", "ld-linux-aarch64.so.1"])).unwrap();
        let new = check_needs(&needs(&["GLIBC_2.4", "GLIBC_2.36"], &["libc.so.6"])).unwrap_err();
        assert_eq!(new.to_string(), "it needs glibc 2.36; the newest allowed is 2.34");
        let other = check_needs(&needs(&["GLIBC_2.34"], &["libc.so.6", "libz.so.1"])).unwrap_err();
        assert!(other.to_string().contains("libz.so.1"), "{other}");
        assert!(check_needs(&needs(&[], &[])).is_err());
    }

    #[test]
    fn a_folder_of_this_machine_is_found() {
        let inside = command::workspace().join("pxe-user/pxed/src/lib.rs");
        let error = names_no_place(inside.display().to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("it names the folder "), "{error}");
        names_no_place(b"/pxed/pxe-user/pxed/src/lib.rs").unwrap();
    }
}
