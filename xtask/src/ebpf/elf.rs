//! Strips kernel objects, and compares the parts of objects that the kernel runs.

use std::collections::BTreeMap;

use anyhow::Result;
use object::build::elf::{Builder, SectionData};
use object::elf::{SHF_EXECINSTR, SHT_STRTAB};
use object::read::elf::{ElfFile64, SectionHeader as _};
use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};

/// Removes DWARF, and the parts of names that depend on the build host. BTF stays, because the kernel and aya read it. Its
/// relocations are removed, because only linkers read them.
pub(super) fn strip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut object = Builder::read(bytes)?;
    for section in &mut object.sections {
        let name = &section.name;
        let is_debug =
            [&b".debug_"[..], b".rel.debug_", b".rel.BTF"].iter().any(|start| name.starts_with(start));
        section.delete = is_debug;
    }
    object.delete_orphans();
    for symbol in &mut object.symbols {
        symbol.name = without_disambiguators(&symbol.name).into();
    }
    // The linker writes one table for the names of symbols and sections. The writer needs two.
    if !object.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        let names = object.sections.add();
        names.name = b".shstrtab"[..].into();
        names.sh_type = SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    let mut stripped = Vec::new();
    object.write(&mut stripped)?;
    Ok(stripped)
}

/// A mangled name without the numbers that distinguish crates of the same name (`Cs1a2B_8pxe_ebpf` becomes `C8pxe_ebpf`).
/// Cargo derives them from the profile, the compiler's version and more. Back references point before the first of them.
fn without_disambiguators(name: &[u8]) -> Vec<u8> {
    if !name.starts_with(b"_R") {
        return name.to_vec();
    }
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, after)) = rest.split_first() {
        plain.push(byte);
        rest = after;
        if byte == b'C' && after.first() == Some(&b's') {
            let end = after.iter().position(|&byte| byte == b'_');
            let is_number = end.is_some_and(|end| after[end + 1..].first().is_some_and(u8::is_ascii_digit));
            if let Some(end) = end.filter(|_| is_number) {
                rest = &after[end + 1..];
            }
        }
    }
    plain
}

/// The parts of an object that the kernel runs and reads, by section: instructions, constants and maps, with their
/// references. Symbols are compared by place, because two compilers may name them differently.
#[derive(Debug)]
pub(super) struct Code {
    sections: BTreeMap<String, Section>,
}

#[derive(Debug)]
struct Section {
    content: Vec<u8>,
    /// The offsets of references, and their targets.
    references: Vec<(u64, String)>,
}

impl Code {
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let file = ElfFile64::<Endianness>::parse(bytes)?;
        let mut sections = BTreeMap::new();
        for section in file.sections() {
            let name = section.name()?;
            let is_code =
                section.elf_section_header().sh_flags(file.endian()) & u64::from(SHF_EXECINSTR) != 0;
            let is_data = ["license", "maps", ".maps", ".rodata"].contains(&name);
            if !is_code && !is_data {
                continue;
            }
            let reference = |(offset, relocation): (u64, object::Relocation)| -> Result<(u64, String)> {
                let RelocationTarget::Symbol(index) = relocation.target() else {
                    return Ok((offset, "nothing".to_owned()));
                };
                let symbol = file.symbol_by_index(index)?;
                let place = symbol.section_index().map(|index| file.section_by_index(index)).transpose()?;
                let place = place.as_ref().map_or(Ok("nowhere"), |section| section.name())?;
                Ok((offset, format!("{place}+{}", symbol.address())))
            };
            let references = section.relocations().map(reference).collect::<Result<_>>()?;
            let content = section.data()?.to_vec();
            sections.insert(name.to_owned(), Section { content, references });
        }
        Ok(Self { sections })
    }

    /// The first section that differs between two objects.
    pub(super) fn difference<'a>(&'a self, other: &'a Self) -> Option<&'a str> {
        let names = self.sections.keys().chain(other.sections.keys());
        let is_equal = |name: &String| match (self.sections.get(name), other.sections.get(name)) {
            (Some(one), Some(two)) => one.content == two.content && one.references == two.references,
            _ => false,
        };
        names.map(String::as_str).find(|name| !is_equal(&(*name).to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_named_without_their_disambiguators() {
        let plain = |name: &str| String::from_utf8(without_disambiguators(name.as_bytes())).unwrap();
        assert_eq!(plain("_RNCNvCsbcLpRmyUEuF_8pxe_ebpf3log0B3_"), "_RNCNvC8pxe_ebpf3log0B3_");
        assert_eq!(plain("_RNvNtC8pxe_ebpf4maps5admit"), "_RNvNtC8pxe_ebpf4maps5admit");
        // Names that are not mangled stay unchanged.
        assert_eq!(plain("Cs1_2"), "Cs1_2");
        assert_eq!(plain("pxed_offload"), "pxed_offload");
    }
}
