//! Builds the targets: our own crates with instruments, everything else as the tests have built it.
//!
//! Cargo hands a "workspace wrapper" the compilations of the workspace's members, and keeps what comes out apart. So a
//! wrapper that adds the instruments' options shares nearly all dependencies with ordinary builds of the same profile, and the
//! search costs a minute of processor time instead of a quarter of an hour. (SQLite is built once more: libFuzzer's crate asks
//! for another feature of `cc`.) The members stay unoptimised: optimised ones take four times as long to build and try a
//! quarter more inputs.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pxe_kit::command;

use super::Target;

/// What libFuzzer is told by: which edges were taken, and what was compared with what.
const INSTRUMENTS: &str = "--cfg fuzzing -C passes=sancov-module \
    -C llvm-args=-sanitizer-coverage-level=4 -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
    -C llvm-args=-sanitizer-coverage-pc-table -C llvm-args=-sanitizer-coverage-trace-compares";
/// It counts as unstable, which the wrapper allows for; that the standard library goes without is said to be meant.
const ADDRESS: &str = "-Z sanitizer=address -C unsafe-allow-abi-mismatch=sanitizer";

/// What the targets are built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sanitizer {
    /// Panics are found.
    None,
    /// Wrong accesses to memory, too; takes longer to build.
    Address,
}

impl Sanitizer {
    /// The better one that this toolchain has.
    pub(super) fn best() -> Result<Self> {
        let mut rustc = Command::new("rustc");
        let folder =
            command::output(rustc.args(["--print", "target-libdir"]).current_dir(command::workspace()))?;
        // AddressSanitizer's run-time library: `librustc-CHANNEL_rt.asan.a` beside the standard library.
        let files = fs::read_dir(folder.trim()).with_context(|| format!("cannot read {}", folder.trim()))?;
        let is_there = files.flatten().any(|file| file.file_name().to_string_lossy().ends_with("_rt.asan.a"));
        Ok(if is_there { Self::Address } else { Self::None })
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::Address => "address",
        }
    }

    /// A program that cargo calls in place of rustc.
    fn wrapper(self) -> String {
        let (environment, more) = match self {
            Self::None => ("", ""),
            Self::Address => ("RUSTC_BOOTSTRAP=1 ", ADDRESS),
        };
        // Build scripts and what they use have no libFuzzer beside them, and xtask is no part of what is tried.
        format!(
            "#!/bin/sh\nrustc=$1\nshift\ncase \" $* \" in\n\
             *' --crate-name build_script_'* | *' --crate-name pxe_ebpf_builder '* | *' --crate-name pxe_bench '* | *' --crate-name pxe_guests '* | *' --crate-name pxe_kit '* | *' --crate-name pxe_lab '* | *' --crate-name pxe_packaging '* | *' --crate-name pxe_search '* | *' --crate-name xtask '*) exec \"$rustc\" \"$@\" ;;\nesac\n\
             {environment}exec \"$rustc\" \"$@\" {INSTRUMENTS} {more}\n"
        )
    }
}

/// Builds the targets, and writes to `seeds` what they begin with.
pub(super) fn build(wanted: Option<&str>, sanitizer: Sanitizer, folder: &Path) -> Result<Vec<Target>> {
    prepare(&folder.join("seeds"))?;
    println!("fuzz: cargo build ({}, our own crates only)", sanitizer.name());
    let mut cargo = command::cargo();
    cargo.args(["build", "--locked", "--package", "pxe-fuzz"]);
    match wanted {
        Some(name) => cargo.args(["--bin", name]),
        None => cargo.arg("--bins"),
    };
    cargo.env("RUSTC_WORKSPACE_WRAPPER", write_wrapper(sanitizer, folder)?);
    cargo.env("CARGO_INCREMENTAL", "0");
    let programs = folder.join(sanitizer.name());
    fs::create_dir_all(&programs).with_context(|| format!("cannot make {}", programs.display()))?;
    let mut targets = Vec::new();
    for built in command::messages(&mut cargo)?.iter().filter_map(command::artifact) {
        let name = built.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Under names of their own: the next build with other instruments takes the place of cargo's.
        let program = programs.join(&name);
        drop(fs::remove_file(&program));
        fs::hard_link(&built, &program).with_context(|| format!("cannot make {}", program.display()))?;
        targets.push((name, program));
    }
    targets.sort();
    ensure!(!targets.is_empty(), "cargo tells of no target that it has built");
    Ok(targets)
}

/// Writes the seeds.
fn prepare(seeds: &Path) -> Result<()> {
    println!(
        "fuzz: cargo build (what writes the seeds); where the tests were never built, that takes some minutes"
    );
    let mut cargo = command::cargo();
    cargo.args(["build", "--locked", "--quiet", "--package", "pxe-properties", "--bin", "seeds"]);
    let messages = command::messages(&mut cargo)?;
    let program = messages.iter().find_map(command::artifact).context("cargo tells of no program `seeds`")?;
    // Another version's would be searched from for ever.
    if seeds.is_dir() {
        fs::remove_dir_all(seeds).with_context(|| format!("cannot remove {}", seeds.display()))?;
    }
    command::run(Command::new(program).arg(seeds))
}

/// Cargo knows a wrapper by its path, so what it does is a part of its name: else old builds would pass for new ones.
fn write_wrapper(sanitizer: Sanitizer, folder: &Path) -> Result<PathBuf> {
    let text = sanitizer.wrapper();
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let path = folder.join(format!("rustc-{}-{:016x}", sanitizer.name(), hasher.finish()));
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_tried_gets_instruments() {
        let folder = std::env::temp_dir().join(format!("pxed-wrapper-{}", std::process::id()));
        let wrapper = write_wrapper(Sanitizer::None, &folder).expect("a wrapper");
        let options = |name: &str| {
            // By a shell: a program that was just written cannot be run while another thread's child still has it open.
            let mut shell = Command::new("sh");
            let shell = shell.arg(&wrapper).args(["echo", "--crate-name", name, "--edition=2024"]);
            command::output(shell).expect("a shell")
        };
        assert!(options("pxe_proto").contains("sancov"));
        assert!(options("xtask_of_another").contains("sancov"));
        assert_eq!(options("build_script_build"), "--crate-name build_script_build --edition=2024\n");
        assert!(!options("pxe_ebpf_builder").contains("sancov"));
        for tool in ["xtask", "pxe_kit", "pxe_guests", "pxe_lab", "pxe_bench", "pxe_packaging", "pxe_search"]
        {
            assert_eq!(options(tool), format!("--crate-name {tool} --edition=2024\n"));
        }
        let other = write_wrapper(Sanitizer::Address, &folder).expect("a wrapper");
        assert_ne!(other, wrapper);
        fs::remove_dir_all(folder).expect("our own folder");
    }
}
