//! Builds the eBPF object from source, with whichever compiler on this machine can.
//!
//! `PXED_EBPF_TOOLCHAIN` overrides the choice: a rustup toolchain's name, or a path such as `/usr`.
//! `AYA_BUILD_SKIP=1` leaves the object out (then only `--datapath socket` works). `PXED_EBPF_OBJECT` names one that is
//! built already: who builds pxe-user in several ways needs no more than one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};

const OVERRIDE: &str = "PXED_EBPF_TOOLCHAIN";
const BUILT: &str = "PXED_EBPF_OBJECT";

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed={OVERRIDE}");
    println!("cargo:rerun-if-env-changed={BUILT}");
    let manifest =
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?);
    let workspace = manifest.parent().context("pxe-user lies in the workspace")?;
    // aya-build watches pxe-ebpf; the classifier lives next door.
    println!("cargo:rerun-if-changed={}", workspace.join("pxe-common").display());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?).join("pxe-ebpf");
    if let Some(built) = std::env::var_os(BUILT).map(PathBuf::from) {
        println!("cargo:rerun-if-changed={}", built.display());
        std::fs::copy(&built, &out).with_context(|| format!("cannot copy {}", built.display()))?;
        return Ok(());
    }
    if std::env::var_os("AYA_BUILD_SKIP").is_some() {
        // `include_bytes!` needs a file; an empty one is answered with a clear sentence at run time.
        std::fs::write(&out, []).context("writing an empty object")?;
    }
    let toolchain = toolchain()?;
    // aya-build turns each line of the inner cargo into a warning: leave only those that matter.
    set_env("CARGO_TERM_QUIET", "true");
    if toolchain != "nightly" {
        // A prebuilt core is there, but aya-ebpf and we need one unstable feature. The value 1 would mean build-std.
        set_env("RUSTC_BOOTSTRAP", "aya_ebpf,pxe_ebpf");
    }
    let root = workspace.join("pxe-ebpf");
    let root = root.to_str().context("the path of the workspace is not UTF-8")?;
    let package = Package { name: "pxe-ebpf", root_dir: root, ..Package::default() };
    aya_build::build_ebpf([package], Toolchain::Custom(&toolchain))
        .context("building the eBPF object failed: `cargo xtask setup` installs what it needs")
}

/// For the inner cargo: aya-build takes no environment of its own.
#[expect(unsafe_code, reason = "std marks it so since other threads might read the environment meanwhile")]
fn set_env(name: &str, value: &str) {
    // SAFETY: this build script has one thread.
    unsafe { std::env::set_var(name, value) }
}

/// A nightly with the source of `core`, else a compiler that brings a prebuilt core for the kernel's machine.
fn toolchain() -> Result<String> {
    if let Some(name) = std::env::var_os(OVERRIDE) {
        return name.into_string().ok().with_context(|| format!("{OVERRIDE} is not UTF-8"));
    }
    let nightly = sysroot(Command::new("rustup").args(["run", "nightly", "rustc"]));
    if nightly.is_some_and(|root| root.join("lib/rustlib/src/rust/library").is_dir()) {
        return Ok("nightly".into());
    }
    if sysroot(&mut Command::new("/usr/bin/rustc"))
        .is_some_and(|root| root.join("lib/rustlib/bpfel-unknown-none").is_dir())
    {
        return Ok("/usr".into());
    }
    bail!(
        "no compiler for the eBPF side. Run `cargo xtask setup`, or by hand either\n  \
         rustup toolchain install nightly --component rust-src   (and bpf-linker), or on Debian\n  \
         apt-get install rustc-web cargo-web libstd-rust-web-dev-bpf   (and bpf-linker)"
    )
}

fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    let out = rustc
        .args(["--print", "sysroot"])
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .ok()?;
    let path = String::from_utf8(out.stdout).ok()?;
    out.status.success().then(|| Path::new(path.trim()).to_path_buf())
}
