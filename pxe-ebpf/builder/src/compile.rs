//! Compiles the kernel programs, with the same result wherever the sources are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::OBJECTS;
use crate::compiler::{Compiler, crate_sources};

/// The cargo profile for the objects.
pub const PROFILE: &str = "ebpf";
/// The compiler's target: the kernel's virtual machine.
const TARGET: &str = "bpfel-unknown-none";
/// The compiler flags. The linker makes BTF from debug information. The processor in the flag determines only
/// the layout of `pt_regs`, which pxed's programs do not read, so one object serves all little-endian
/// processors with unaligned access.
pub const FLAGS: [&str; 3] = ["--cfg=bpf_target_arch=\"x86_64\"", "-Cdebuginfo=2", "-Clink-arg=--btf"];

/// Compiles all objects. `target` is a folder for this purpose only.
///
/// Returns the objects' files in the order of [`OBJECTS`]. The objects have debug information, but no path of
/// this machine.
///
/// # Errors
/// When cargo fails. The compiler writes its messages to standard error.
pub fn compile(compiler: &Compiler, workspace: &Path, target: &Path) -> Result<Vec<PathBuf>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace).args(["build", "--locked", "--quiet", "--package", "pxe-ebpf", "--bins"]);
    cargo.args(["--profile", PROFILE, "--target", TARGET, "--target-dir"]).arg(target);
    if compiler.builds_core {
        cargo.args(["-Z", "build-std=core"]);
    }
    // The programs need one unstable feature. The value 1 allows unstable features to every crate, which only
    // a compiler that builds `core` gets; otherwise two crates get them.
    cargo.env("RUSTC_BOOTSTRAP", if compiler.builds_core { "1" } else { "aya_ebpf,pxe_ebpf" });
    cargo.env("RUSTC", &compiler.rustc).env("CARGO_ENCODED_RUSTFLAGS", flags(workspace)?);
    // A build script or rustup's cargo sets these variables for another compiler.
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

/// Returns the flags in the encoding of `CARGO_ENCODED_RUSTFLAGS`, because a path may contain a space.
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
