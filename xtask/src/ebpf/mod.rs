//! `cargo xtask ebpf`: rebuilds the committed kernel objects, or compares them with a new build.
//!
//! ```text
//! toolchain  the compiler: Debian's packages, unpacked into the user's cache and not installed, and a bpf-linker built there
//! elf        strips objects, and compares what the kernel runs
//! ```
//!
//! `pxe-ebpf-builder` knows the inputs of an object and how to compile it. The build script of pxe-nic also uses that crate.

mod elf;
mod toolchain;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use pxe_ebpf_builder::compile::compile;
use pxe_ebpf_builder::compiler::{Compiler, OVERRIDE};
use pxe_ebpf_builder::inputs::Inputs;
use pxe_ebpf_builder::record::{self, Record};
use pxe_ebpf_builder::{OBJECTS, Object, sha256};
use pxe_kit::command;

use crate::setup;

/// Builds the objects, and writes them and their record into the source tree.
///
/// # Errors
/// If there is no compiler and the download fails, or the programs do not compile.
pub fn build() -> Result<()> {
    let workspace = command::workspace();
    let (built, tools) = objects(workspace)?;
    let inputs = Inputs::read(workspace)?;
    let mut objects = BTreeMap::new();
    for (object, bytes) in built {
        let path = workspace.join(object.file);
        let is_new = fs::read(&path).ok().as_deref() != Some(&*bytes);
        fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
        let changed = if is_new { "changed" } else { "unchanged" };
        println!("ebpf: {}: {:.1} KB, {changed}", object.file, bytes.len() as f64 / 1e3);
        objects.insert(object.file.to_owned(), sha256(&bytes));
    }
    Record { objects, tools, inputs }.write(workspace)?;
    println!("ebpf: wrote {}; commit it together with the objects", record::FILE);
    Ok(())
}

/// Builds the objects, and compares them with the committed ones: all bits if the compiler is the recorded one,
/// otherwise the programs and maps only.
///
/// # Errors
/// If the objects differ, or the build fails.
pub fn check() -> Result<()> {
    let workspace = command::workspace();
    let record = Record::read(workspace)?;
    record.check(workspace)?;
    let (built, tools) = objects(workspace)?;
    for (object, bytes) in built {
        let path = workspace.join(object.file);
        let committed = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let how = compare(&committed, &bytes, tools == record.tools)
            .with_context(|| format!("{} does not match its sources", object.file))?;
        println!("ebpf: {} matches its sources ({how})", object.file);
    }
    Ok(())
}

fn compare(committed: &[u8], built: &[u8], same_tools: bool) -> Result<&'static str> {
    if committed == built {
        return Ok("bit for bit");
    }
    ensure!(
        !same_tools,
        "the same compiler made another object: run `cargo xtask ebpf`, and inspect the difference"
    );
    let (committed, built) = (elf::Code::read(committed)?, elf::Code::read(built)?);
    if let Some(part) = committed.difference(&built) {
        bail!("`{part}` differs (not built with the recorded compiler): run `cargo xtask ebpf`");
    }
    Ok("instruction for instruction, by another compiler")
}

/// Built and stripped objects, and the versions of the tools that made them.
type Built = (Vec<(Object, Vec<u8>)>, BTreeMap<String, String>);

fn objects(workspace: &Path) -> Result<Built> {
    let compiler = compiler()?;
    let tools = compiler.versions()?.into_iter().map(|(name, version)| (name.to_owned(), version)).collect();
    println!("ebpf: cargo builds the kernel objects; the first build takes a minute");
    let files = compile(&compiler, workspace, &command::target_dir().join("ebpf"))?;
    let built = OBJECTS.into_iter().zip(files).map(|(object, file)| {
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let bytes = elf::strip(&bytes).with_context(|| format!("cannot strip {}", file.display()))?;
        names_no_path(&bytes, workspace).with_context(|| format!("in the object of {}", object.target))?;
        Ok((object, bytes))
    });
    Ok((built.collect::<Result<_>>()?, tools))
}

/// The compiler that `PXED_EBPF_COMPILER` names, or the one in the cache, which the first call makes, or, without apt
/// and dpkg, rustup's nightly.
fn compiler() -> Result<Compiler> {
    if std::env::var_os(OVERRIDE).is_some() {
        return Compiler::find();
    }
    let can_fetch = ["apt-get", "dpkg-deb"].into_iter().all(|tool| command::find(tool).is_some());
    if !can_fetch {
        return Compiler::find().context("Debian's compiler cannot be fetched without apt-get and dpkg-deb");
    }
    setup::ensure(&[setup::Group::Ebpf])?;
    toolchain::ensure()
}

/// Fails if an object contains a path of this machine: objects must not depend on the build host.
fn names_no_path(object: &[u8], workspace: &Path) -> Result<()> {
    let homes = ["HOME", "CARGO_HOME", "CARGO_TARGET_DIR"].into_iter().filter_map(std::env::var_os);
    for place in homes.map(Into::into).chain([workspace.to_owned()]) {
        let text = place.as_os_str().as_encoded_bytes();
        // Skip `/`, which is the home of some containers' users and occurs in every path.
        ensure!(
            text.len() < 2 || memchr::memmem::find(object, text).is_none(),
            "the object contains the path {}",
            place.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use object::{Object as _, ObjectSection as _};

    use super::*;

    fn committed(object: Object) -> Vec<u8> {
        fs::read(command::workspace().join(object.file)).expect("the object is committed")
    }

    #[test]
    fn committed_objects_are_stripped_and_name_no_place() {
        for object in OBJECTS {
            let bytes = committed(object);
            assert_eq!(elf::strip(&bytes).unwrap(), bytes, "{}", object.file);
            assert!(memchr::memmem::find(&bytes, b".debug_").is_none());
            assert!(memchr::memmem::find(&bytes, b".BTF").is_some());
            names_no_path(&bytes, command::workspace()).unwrap();
        }
    }

    #[test]
    fn an_object_is_equal_to_itself_only() {
        let [daemon, load, _] = OBJECTS.map(committed);
        assert_eq!(compare(&daemon, &daemon, true).unwrap(), "bit for bit");
        assert!(compare(&daemon, &load, true).is_err());
        assert!(compare(&daemon, &load, false).is_err());
    }

    /// One different instruction in one program is found.
    #[test]
    fn a_changed_instruction_is_found() {
        let [daemon, ..] = OBJECTS.map(committed);
        let mut other = daemon.clone();
        let file = object::File::parse(&*daemon).unwrap();
        let (at, _) = file.section_by_name("xdp").and_then(|section| section.file_range()).expect("programs");
        other[at as usize + 8] ^= 1;
        let error = compare(&daemon, &other, false).unwrap_err().to_string();
        assert!(error.contains("`xdp` differs"), "{error}");
    }

    #[test]
    fn a_path_of_this_machine_is_found() {
        let place = command::workspace().display().to_string();
        assert!(names_no_path(format!("x{place}/pxe-common").as_bytes(), command::workspace()).is_err());
        assert!(names_no_path(b"/pxed/pxe-common/src/lib.rs", command::workspace()).is_ok());
    }
}
