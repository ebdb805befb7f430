//! Reads from a program's file what it needs from the system. `ldd` cannot do that for another architecture.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use object::elf::DT_NEEDED;
use object::read::elf::{ElfFile64, ProgramHeader as _};
use object::{Architecture, Endianness, Object as _};

use crate::arch::Arch;

/// What a program or a library needs from the system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The path of the dynamic loader. None for libraries and static programs.
    pub loader: Option<String>,
    /// The names of the libraries that the loader looks for.
    pub libraries: Vec<String>,
    /// The versions of the symbols that the file uses, for example `GLIBC_2.34`.
    pub versions: Vec<String>,
}

impl Needs {
    /// Reads a file. It must be of the architecture `arch`.
    pub fn of(file: &Path, arch: Arch) -> Result<Self> {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&bytes, arch).with_context(|| format!("cannot use {}", file.display()))
    }

    /// Like [`of`](Self::of), from the file's bytes.
    pub fn parse(bytes: &[u8], arch: Arch) -> Result<Self> {
        let elf = ElfFile64::<Endianness>::parse(bytes)?;
        let wanted = match arch {
            Arch::Amd64 => Architecture::X86_64,
            Arch::Arm64 => Architecture::Aarch64,
        };
        let found = elf.architecture();
        ensure!(found == wanted, "it is for {found:?}, not for {wanted:?}");
        let endian = elf.endian();
        let mut needs = Self::default();
        for header in elf.elf_program_headers() {
            if let Some(loader) = header.interpreter(endian, bytes)? {
                needs.loader = Some(text(loader));
            }
        }
        let dynamic = elf.elf_dynamic_table()?;
        for entry in dynamic.iter().filter(|entry| entry.tag == DT_NEEDED) {
            needs.libraries.push(text(dynamic.string(entry)?));
        }
        let sections = elf.elf_section_table();
        if let Some((mut files, strings)) = sections.gnu_verneed(endian, bytes)? {
            let strings = sections.strings(endian, bytes, strings)?;
            while let Some((_, mut versions)) = files.next()? {
                while let Some(version) = versions.next()? {
                    needs.versions.push(text(version.name(endian, strings)?));
                }
            }
        }
        Ok(needs)
    }

    /// The oldest glibc that has all symbols, for example `(2, 34)`.
    pub fn glibc(&self) -> Option<(u32, u32)> {
        self.versions.iter().filter_map(|version| glibc(version)).max()
    }
}

/// `GLIBC_2.2.5` is (2, 2). `GLIBC_ABI_DT_RELR` and the like have no number.
fn glibc(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix("GLIBC_")?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(glibc("GLIBC_2.2.5"), Some((2, 2)));
        assert_eq!(glibc("GLIBC_ABI_DT_RELR"), None);
        assert_eq!(glibc("GCC_3.0"), None);
        let versions = ["GLIBC_2.9", "GCC_3.0", "GLIBC_2.34", "GLIBC_2.2.5"].map(str::to_owned).to_vec();
        assert_eq!(Needs { versions, ..Needs::default() }.glibc(), Some((2, 34)));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn this_test_program_says_what_it_needs() {
        let this = std::env::current_exe().unwrap();
        let needs = Needs::of(&this, Arch::Amd64).unwrap();
        assert!(needs.libraries.iter().any(|library| library.starts_with("libc.so")), "{needs:?}");
        assert!(needs.loader.is_some() && needs.glibc().is_some(), "{needs:?}");
        let error = format!("{:#}", Needs::of(&this, Arch::Arm64).unwrap_err());
        assert!(error.contains("it is for X86_64, not for Aarch64"), "{error}");
    }
}
