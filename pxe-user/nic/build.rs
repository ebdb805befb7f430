//! Copies the kernel object to where `nic::programs` embeds it from. It takes the committed object, after a
//! check that the object was built from these sources.
//!
//! `PXED_EBPF=source` in the environment builds the object instead, with a compiler of this machine.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use pxe_ebpf_builder::compile::compile;
use pxe_ebpf_builder::compiler::Compiler;
use pxe_ebpf_builder::record::{self, Record};
use pxe_ebpf_builder::{DAEMON, OBJECTS};

const CHOICE: &str = "PXED_EBPF";

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed={CHOICE}");
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    let object = object(&folder, &out)?;
    let to = out.join("pxed.bpf.o");
    fs::copy(&object, &to)
        .with_context(|| format!("cannot copy {} to {}", object.display(), to.display()))?;
    Ok(())
}

fn object(folder: &Path, out: &Path) -> Result<PathBuf> {
    let workspace = folder.ancestors().nth(2).filter(|above| above.join("pxe-ebpf").is_dir());
    let Some(workspace) = workspace else {
        // The crate from a registry has the object, but not the object's sources, so there is nothing to
        // compare.
        return Ok(folder.join("ebpf/pxed.bpf.o"));
    };
    for name in ["pxe-common", "pxe-ebpf", "Cargo.toml", "Cargo.lock", record::FILE] {
        println!("cargo:rerun-if-changed={}", workspace.join(name).display());
    }
    for object in OBJECTS {
        println!("cargo:rerun-if-changed={}", workspace.join(object.file).display());
    }
    match env::var(CHOICE).as_deref() {
        Ok("source") => {
            let built = compile(&Compiler::find()?, workspace, &out.join("ebpf"))?;
            let daemon = OBJECTS.iter().zip(built).find(|(object, _)| **object == DAEMON);
            daemon.map(|(_, path)| path).context("the builder made no object for the daemon")
        }
        Ok("") | Err(env::VarError::NotPresent) => {
            Record::read(workspace)?.check(workspace)?;
            Ok(workspace.join(DAEMON.file))
        }
        _ => bail!(
            "{CHOICE} may be `source` only: it then builds the kernel object instead of taking the committed one"
        ),
    }
}
