//! Compiles the kernel programs, the same way wherever the sources lie.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::OBJECTS;
use crate::compiler::{Compiler, crate_sources};

/// The cargo profile of the objects.
pub const PROFILE: &str = "ebpf";
/// The kernel's virtual machine.
const TARGET: &str = "bpfel-unknown-none";
/// BTF is made of debug information. The processor decides the layout of `pt_regs` only, which no program of ours reads: so
/// one object serves all little-endian processors.
pub const FLAGS: [&str; 3] = ["--cfg=bpf_target_arch=\"x86_64\"", "-Cdebuginfo=2", "-Clink-arg=--btf"];

/// Compiles all objects; `target` is a folder for this alone. Returns their files, in the order of [`OBJECTS`]. They
/// hold no path of this machine, but debug information.
///
/// # Errors
/// When cargo fails. What the compiler says goes to standard error.
pub fn compile(compiler: &Compiler, workspace: &Path, target: &Path) -> Result<Vec<PathBuf>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace).args(["build", "--locked", "--quiet", "--package", "pxe-ebpf", "--bins"]);
    cargo.args(["--profile", PROFILE, "--target", TARGET, "--target-dir"]).arg(target);
    if compiler.builds_core {
        cargo.args(["-Z", "build-std=core"]);
    }
    // The programs need one unstable feature. The value 1 would allow it to every crate.
    cargo.env("RUSTC_BOOTSTRAP", if compiler.builds_core { "1" } else { "aya_ebpf,pxe_ebpf" });
    cargo.env("RUSTC", &compiler.rustc).env("CARGO_ENCODED_RUSTFLAGS", flags(workspace)?);
    // What a build script or rustup's cargo has set is about another compiler.
    for name in ["RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC", "RUSTFLAGS"] {
        cargo.env_remove(name);
    }
    if let Some(folder) = &compiler.linker {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(folder.clone()).chain(std::env::split_paths(&path));
        cargo.env("PATH", std::env::join_paths(folders).context("a folder in PATH holds a colon")?);
    }
    let status = cargo.stdin(Stdio::null()).status().context("cannot start cargo")?;
    ensure!(status.success(), "building the kernel objects failed with {status}");
    let folder = target.join(TARGET).join(PROFILE);
    Ok(OBJECTS.iter().map(|object| folder.join(object.target)).collect())
}

/// The flags in cargo's own encoding: a space may be part of a path.
fn flags(workspace: &Path) -> Result<OsString> {
    let mut flags: Vec<OsString> = FLAGS.iter().map(OsString::from).collect();
    let mut remap = |from: &Path, to: &str| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push(to);
        flags.push(flag);
    };
    remap(workspace, "=/pxed");
    crate_sources()?.iter().for_each(|folder| remap(folder, "=/crates"));
    Ok(flags.join(&OsString::from("\x1f")))
}
