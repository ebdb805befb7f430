//! The compiler and linker of the kernel side.
//!
//! `pxe-user/build.rs` takes the first of these that is there, and needs `bpf-linker` in `PATH`:
//! a nightly of rustup with the source of the standard library, else `/usr/bin/rustc` with a prebuilt `core` for
//! `bpfel-unknown-none`. Debian has the latter ready made (`rustc-web`), which needs no rustup and is what is
//! tried; elsewhere rustup brings the former, which is untried.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::packages::Manager;
use crate::command;

const LINKER: &str = "0.13.0";
const DEBIAN: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
const BY_HAND: &str = "On Debian 12 and later:\n    \
    sudo apt-get install --no-install-recommends rustc-web cargo-web libstd-rust-web-dev-bpf\n\
    elsewhere:\n    rustup toolchain install nightly --profile minimal --component rust-src\n    \
    cargo binstall bpf-linker@0.13.0\n\
    then try again.";

/// A compiler that can make the kernel side.
#[derive(Debug, PartialEq, Eq)]
enum Compiler {
    /// A nightly of rustup's that builds `core` itself.
    Nightly(PathBuf),
    /// One with a `core` for the target.
    Prebuilt(PathBuf),
}

impl Compiler {
    fn find() -> Option<Self> {
        nightly().or_else(prebuilt)
    }

    fn rustc(&self) -> &Path {
        match self {
            Self::Nightly(rustc) | Self::Prebuilt(rustc) => rustc,
        }
    }
}

fn nightly() -> Option<Compiler> {
    let mut rustup = Command::new("rustup");
    // Looking must never install anything.
    let rustc = command::output(
        rustup.args(["which", "--toolchain", "nightly", "rustc"]).env("RUSTUP_AUTO_INSTALL", "0"),
    )
    .ok()?;
    let rustc = PathBuf::from(rustc.trim());
    sysroot(&rustc)?.join("lib/rustlib/src/rust/library").is_dir().then_some(Compiler::Nightly(rustc))
}

fn prebuilt() -> Option<Compiler> {
    let rustc = PathBuf::from("/usr/bin/rustc");
    let libraries = sysroot(&rustc)?.join("lib/rustlib/bpfel-unknown-none/lib");
    let is_core = |name: &str| name.starts_with("libcore-") && name.ends_with(".rlib");
    let there = fs::read_dir(libraries).ok()?.flatten().any(|f| is_core(&f.file_name().to_string_lossy()));
    (there && command::find("cargo").is_some()).then_some(Compiler::Prebuilt(rustc))
}

fn sysroot(rustc: &Path) -> Option<PathBuf> {
    let root = command::output(Command::new(rustc).args(["--print", "sysroot"])).ok()?;
    Some(PathBuf::from(root.trim()))
}

/// Sees to a compiler and a linker for the kernel side, and says what it does.
///
/// # Errors
/// With the commands to run by hand, when it cannot install them.
pub(super) fn ensure() -> Result<()> {
    let compiler = match Compiler::find() {
        Some(compiler) => compiler,
        None => install_compiler()?,
    };
    let llvm = llvm_of(compiler.rustc())?;
    match linker_in_place(llvm)? {
        Some(linker) => {
            println!(
                "setup: build: nothing to do ({} with LLVM {llvm}, {})",
                compiler.rustc().display(),
                linker.display()
            );
            Ok(())
        }
        None => install_linker(&compiler, llvm),
    }
}

fn install_compiler() -> Result<Compiler> {
    if Manager::find() == Some(Manager::Apt) {
        if !super::apt_knows(DEBIAN[0]) {
            super::refresh_apt(&DEBIAN)?;
        }
        if DEBIAN.iter().all(|package| super::apt_knows(package)) {
            super::install(Manager::Apt, &DEBIAN)?;
            return prebuilt()
                .context("Debian's compiler is installed, but has no core for bpfel-unknown-none");
        }
    }
    if command::find("rustup").is_none() {
        bail!(
            "no compiler for the kernel side, and neither Debian's packages nor rustup to get one.\n{BY_HAND}"
        );
    }
    println!("setup: rustup installs a nightly with rust-src");
    let mut rustup = Command::new("rustup");
    rustup.args("toolchain install nightly --profile minimal --component rust-src".split(' '));
    command::run(&mut rustup).context(BY_HAND)?;
    nightly().context("rustup's nightly still has no source of the standard library")
}

/// The major version of the LLVM inside a compiler.
fn llvm_of(rustc: &Path) -> Result<u32> {
    let text = command::output(Command::new(rustc).arg("-vV"))?;
    let line = text.lines().find_map(|l| l.strip_prefix("LLVM version: "));
    line.and_then(major).with_context(|| format!("{} does not say which LLVM it has", rustc.display()))
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.trim().parse().ok()
}

/// The linker, if there is one that will do.
fn linker_in_place(llvm: u32) -> Result<Option<PathBuf>> {
    let Some(linker) = command::find("bpf-linker") else { return Ok(None) };
    let shown = linker.display();
    let version = command::output(Command::new(&linker).arg("--version"))
        .with_context(|| format!("{shown} does not run: remove it, then run `cargo xtask setup` again"))?;
    let version = version.trim().trim_start_matches("bpf-linker ");
    if version != LINKER {
        println!(
            "setup: {shown} is version {version}; tried is {LINKER}. If the build fails, remove it and run set-up again"
        );
    }
    if let Some(linked) = dynamic_llvm(&linker)
        && linked < llvm
    {
        bail!(
            "{shown} is built against LLVM {linked}, the compiler has LLVM {llvm}: it cannot read its output. \
             Remove it, then run `cargo xtask setup` again"
        );
    }
    Ok(Some(linker))
}

/// The LLVM that a linker loads; none when LLVM is part of it.
fn dynamic_llvm(linker: &Path) -> Option<u32> {
    let text = command::output(Command::new("ldd").arg(linker)).ok()?;
    text.lines().find_map(|l| major(l.trim().strip_prefix("libLLVM.so.")?))
}

fn install_linker(compiler: &Compiler, llvm: u32) -> Result<()> {
    match compiler {
        Compiler::Prebuilt(rustc) => build_linker(rustc, llvm),
        Compiler::Nightly(_) => fetch_linker(),
    }
    .context(BY_HAND)
}

/// Builds the linker against the LLVM of Debian's compiler: 26 s without optimisation, and the object is the same.
fn build_linker(rustc: &Path, llvm: u32) -> Result<()> {
    let library = loaded_llvm(rustc)?;
    let prefix = command::target_dir().join("bpf-llvm");
    fs::create_dir_all(prefix.join("lib"))?;
    let link = prefix.join("lib/libLLVM.so");
    if link.symlink_metadata().is_ok() {
        fs::remove_file(&link)?;
    }
    symlink(&library, &link).with_context(|| format!("cannot make {}", link.display()))?;

    println!("setup: cargo builds bpf-linker {LINKER} against {}", library.display());
    let mut cargo = command::cargo();
    cargo.args([
        "install",
        "--debug",
        "--locked",
        "bpf-linker",
        "--version",
        LINKER,
        "--no-default-features",
    ]);
    cargo.arg("--features").arg(format!("llvm-{llvm}")).env("LLVM_PREFIX", &prefix);
    // Its own target folder: the workspace's may be locked by the cargo that runs us.
    cargo.env("CARGO_TARGET_DIR", command::target_dir().join("bpf-linker"));
    command::run(&mut cargo)?;
    ensure!(
        command::find("bpf-linker").is_some(),
        "bpf-linker is built, but is not in PATH: add cargo's bin folder (usually ~/.cargo/bin) to PATH"
    );
    Ok(())
}

/// The libLLVM that a compiler loads, through the library that links it.
fn loaded_llvm(rustc: &Path) -> Result<PathBuf> {
    let mut files = vec![rustc.to_owned()];
    if let Some(root) = sysroot(rustc) {
        let driver = fs::read_dir(root.join("lib")).into_iter().flatten().flatten();
        files.extend(driver.map(|f| f.path()).filter(|f| f.to_string_lossy().contains("librustc_driver")));
    }
    for file in files {
        let text = command::output(Command::new("ldd").arg(&file)).unwrap_or_default();
        let loaded = text.lines().find_map(|l| {
            let (name, place) = l.trim().split_once(" => ")?;
            name.starts_with("libLLVM").then(|| PathBuf::from(place.split(" (").next().unwrap_or(place)))
        });
        if let Some(library) = loaded {
            return Ok(library);
        }
    }
    bail!("{} loads no libLLVM, so bpf-linker cannot be built against it", rustc.display())
}

/// The release of bpf-linker with an LLVM of its own. Untried.
fn fetch_linker() -> Result<()> {
    // No archive by curl: nothing here could tell whether it is the right one.
    if command::find("cargo-binstall").is_none() {
        bail!("bpf-linker {LINKER} is not installed, and there is no cargo-binstall to fetch it");
    }
    println!("setup: cargo-binstall fetches bpf-linker {LINKER}");
    command::run(command::cargo().args(["binstall", "--no-confirm", &format!("bpf-linker@{LINKER}")]))
}
