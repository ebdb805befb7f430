//! Builds the fuzz targets: this workspace's crates with instrumentation, all dependencies as in the build of the tests.
//!
//! Cargo calls a "workspace wrapper" for the workspace's members only, and keeps their output apart. The wrapper here
//! adds the options for instrumentation. So nearly all dependencies are shared with ordinary builds of the same
//! profile, and the build takes a minute of processor time instead of a quarter of an hour. (SQLite is built again,
//! because libFuzzer's crate needs another feature of `cc`.) The members are not optimised: optimised ones take four
//! times as long to build, and try only a quarter more inputs.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pxe_kit::command;

use super::Target;

/// The options for libFuzzer's feedback: the edges that were taken, and the operands of comparisons.
const INSTRUMENTS: &str = "--cfg fuzzing -C passes=sancov-module \
    -C llvm-args=-sanitizer-coverage-level=4 -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
    -C llvm-args=-sanitizer-coverage-pc-table -C llvm-args=-sanitizer-coverage-trace-compares";
/// The options for AddressSanitizer. The first one is unstable, so the wrapper sets `RUSTC_BOOTSTRAP`. The second one
/// accepts that the standard library is not instrumented.
const ADDRESS: &str = "-Z sanitizer=address -C unsafe-allow-abi-mismatch=sanitizer";

/// The sanitizer of the targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sanitizer {
    /// The search finds panics only.
    None,
    /// AddressSanitizer: the search also finds invalid memory accesses. The build takes longer.
    Address,
}

impl Sanitizer {
    /// AddressSanitizer if this toolchain has it.
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

    /// The text of a program that cargo calls instead of rustc.
    fn wrapper(self) -> String {
        let (environment, more) = match self {
            Self::None => ("", ""),
            Self::Address => ("RUSTC_BOOTSTRAP=1 ", ADDRESS),
        };
        // Build scripts and their crates are not linked with libFuzzer, and the tools are not under test.
        format!(
            "#!/bin/sh\nrustc=$1\nshift\ncase \" $* \" in\n\
             *' --crate-name build_script_'* | *' --crate-name pxe_ebpf_builder '* | *' --crate-name pxe_bench '* | *' --crate-name pxe_guests '* | *' --crate-name pxe_kit '* | *' --crate-name pxe_lab '* | *' --crate-name pxe_packaging '* | *' --crate-name pxe_search '* | *' --crate-name xtask '*) exec \"$rustc\" \"$@\" ;;\nesac\n\
             {environment}exec \"$rustc\" \"$@\" {INSTRUMENTS} {more}\n"
        )
    }
}

/// Builds the targets, and writes their first inputs to the folder `seeds`.
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
        // Link the program to another name, because cargo's next build with other instrumentation replaces it.
        let program = programs.join(&name);
        drop(fs::remove_file(&program));
        fs::hard_link(&built, &program).with_context(|| format!("cannot make {}", program.display()))?;
        targets.push((name, program));
    }
    targets.sort();
    ensure!(!targets.is_empty(), "cargo reports no target that it has built");
    Ok(targets)
}

/// Writes the seeds by the program `seeds` of pxe-properties.
fn prepare(seeds: &Path) -> Result<()> {
    println!(
        "fuzz: cargo build (the program that writes the seeds); without a build of the tests, this takes some minutes"
    );
    let mut cargo = command::cargo();
    cargo.args(["build", "--locked", "--quiet", "--package", "pxe-properties", "--bin", "seeds"]);
    let messages = command::messages(&mut cargo)?;
    let program = messages.iter().find_map(command::artifact).context("cargo reports no program `seeds`")?;
    // Remove the seeds of older versions, which nothing else deletes.
    if seeds.is_dir() {
        fs::remove_dir_all(seeds).with_context(|| format!("cannot remove {}", seeds.display()))?;
    }
    command::run(Command::new(program).arg(seeds))
}

/// Writes the wrapper under a name with a hash of its text. Cargo identifies a wrapper by its path: without the hash, cargo
/// would not rebuild after a change of the wrapper.
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
            // Through a shell: executing a file fails while a child of another thread still has it open for writing.
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
