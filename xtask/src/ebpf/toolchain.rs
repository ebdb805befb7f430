//! The compiler for the kernel programs, in the user's cache: Debian's `rustc-web`, whose packages contain a built
//! `core` for BPF, and bpf-linker.
//!
//! An installed `rustc-web` would replace the user's compiler, because it conflicts with `rustc` and `rustup`. So its
//! packages are only unpacked, and nothing outside the cache changes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pxe_ebpf_builder::compiler::{Compiler, LINKER, cached};
use pxe_kit::{cache, command, unpacked};

/// The packages of the compiler and of its standard libraries.
const PACKAGES: [&str; 3] = ["rustc-web", "libstd-rust-web-dev", "libstd-rust-web-dev-bpf"];

/// Takes the compiler from the cache. The first call makes it, in some minutes.
///
/// # Errors
/// If Debian's archive is not reachable, or bpf-linker does not compile.
pub(super) fn ensure() -> Result<Compiler> {
    let made =
        cache::folder("ebpf-compiler", make).context("cannot make the compiler for the kernel side")?;
    ensure!(cached().as_deref() == Some(&*made), "{} is not where builds look", made.display());
    Compiler::unpacked(&made)
        .with_context(|| format!("{} is incomplete: remove it, and try again", made.display()))
}

fn make(folder: &Path) -> Result<()> {
    println!("ebpf: fetching Debian's compiler for the kernel side (120 MB; unpacked, not installed)");
    unpacked::make(folder, &PACKAGES, &["rustc"])?;
    let version = command::output(Command::new(folder.join("bin/rustc")).arg("-vV"))?;
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next());
    build_linker(llvm.context("the compiler does not name its LLVM")?, folder)
}

/// Builds the linker against the compiler's LLVM. Not optimised: that takes half the time, and gives the same objects.
fn build_linker(llvm: &str, folder: &Path) -> Result<()> {
    let [lib, prefix, root, target] = ["lib", "llvm", "linker", "target"].map(|name| folder.join(name));
    let is_llvm = |file: &fs::DirEntry| file.file_name().to_string_lossy().starts_with("libLLVM.so.");
    let libraries =
        unpacked::LIBRARIES.iter().filter_map(|below| fs::read_dir(folder.join("tree").join(below)).ok());
    let library = libraries.flatten().flatten().find(is_llvm);
    let library = library.context("the compiler's packages contain no libLLVM")?.path();
    fs::create_dir_all(prefix.join("lib"))?;
    symlink(&library, prefix.join("lib/libLLVM.so"))?;
    println!("ebpf: cargo builds bpf-linker {LINKER} against LLVM {llvm}");
    let mut cargo = command::cargo();
    cargo.args(["install", "--quiet", "--debug", "--locked", "bpf-linker", "--version", LINKER]);
    cargo.args(["--no-default-features", "--features", &format!("llvm-{llvm}"), "--root"]).arg(&root);
    cargo.env("LLVM_PREFIX", &prefix).env("CARGO_TARGET_DIR", &target).env_remove("RUSTFLAGS");
    // The linker of this build reads libLLVM, and needs its libraries.
    cargo.env("LD_LIBRARY_PATH", &lib);
    command::run(&mut cargo)?;
    for used in [prefix, target] {
        fs::remove_dir_all(used)?;
    }
    unpacked::wrap(&root.join("bin/bpf-linker"), folder)
}
