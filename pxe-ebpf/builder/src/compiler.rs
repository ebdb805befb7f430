//! A compiler and linker for the kernel's virtual machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Names a folder with a compiler as [`Compiler::unpacked`] expects it.
pub const OVERRIDE: &str = "PXED_EBPF_COMPILER";
/// The version of bpf-linker that is tried.
pub const LINKER: &str = "0.13.0";

/// A compiler and its linker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    pub(crate) rustc: PathBuf,
    /// The folder with `bpf-linker`; none where it is in `PATH`.
    pub(crate) linker: Option<PathBuf>,
    /// Whether cargo must build `core`: this compiler brings none for the kernel's virtual machine.
    pub(crate) builds_core: bool,
}

impl Compiler {
    /// The first of: the folder in `PXED_EBPF_COMPILER`, the folder that `cargo xtask ebpf` fetches into the user's cache,
    /// a nightly of rustup with the source of the standard library and `bpf-linker` in `PATH`.
    ///
    /// # Errors
    /// When there is none.
    pub fn find() -> Result<Self> {
        if let Some(folder) = env::var_os(OVERRIDE) {
            let folder = PathBuf::from(folder);
            return Self::unpacked(&folder)
                .with_context(|| format!("{OVERRIDE} names {}, where no compiler is", folder.display()));
        }
        cached().and_then(|folder| Self::unpacked(&folder)).or_else(Self::nightly).context(
            "no compiler for the kernel side. Run `cargo xtask ebpf`, which fetches one (Debian and its like), \
             or install `rustup toolchain install nightly --component rust-src` and `bpf-linker`",
        )
    }

    /// A folder with `bin/rustc`, whose `core` for bpfel-unknown-none is ready made, and `bin/bpf-linker`.
    #[must_use]
    pub fn unpacked(folder: &Path) -> Option<Self> {
        let bin = folder.join("bin");
        let compiler = Self { rustc: bin.join("rustc"), linker: Some(bin.clone()), builds_core: false };
        (bin.join("bpf-linker").is_file() && compiler.rustc.is_file()).then_some(compiler)
    }

    /// A nightly of rustup's that builds `core` itself.
    #[must_use]
    pub fn nightly() -> Option<Self> {
        // Looking must never install anything.
        let rustc = output(
            Command::new("rustup")
                .args(["which", "--toolchain", "nightly", "rustc"])
                .env("RUSTUP_AUTO_INSTALL", "0"),
        )?;
        let rustc = PathBuf::from(rustc.trim());
        let root = output(Command::new(&rustc).args(["--print", "sysroot"]))?;
        let has_source = Path::new(root.trim()).join("lib/rustlib/src/rust/library").is_dir();
        let has_linker = output(Command::new("bpf-linker").arg("--version")).is_some();
        (has_source && has_linker).then_some(Self { rustc, linker: None, builds_core: true })
    }

    /// What compiler and linker say of themselves, by name.
    ///
    /// # Errors
    /// When one does not run.
    pub fn versions(&self) -> Result<Vec<(&'static str, String)>> {
        let verbose = output(Command::new(&self.rustc).arg("-vV")).context("the compiler does not run")?;
        let line = |start: &str| verbose.lines().find_map(|line| line.strip_prefix(start));
        let llvm = line("LLVM version: ").context("the compiler does not name its LLVM")?;
        let program = self.linker.as_ref().map_or_else(|| "bpf-linker".into(), |bin| bin.join("bpf-linker"));
        let linker = output(Command::new(program).arg("--version")).context("bpf-linker does not run")?;
        let rustc = line("rustc ").context("the compiler does not tell its version")?;
        Ok(vec![
            ("rustc", rustc.trim().to_owned()),
            ("llvm", llvm.to_owned()),
            ("bpf-linker", linker.trim().trim_start_matches("bpf-linker ").to_owned()),
        ])
    }
}

/// Where `cargo xtask ebpf` puts its compiler.
#[must_use]
pub fn cached() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute()).or_else(home)?;
    Some(base.join("pxed/ebpf-compiler"))
}

/// The folders below cargo's home that hold the sources of crates: each is named after its registry.
pub(crate) fn crate_sources() -> Result<Vec<PathBuf>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let folder = home.context("neither CARGO_HOME nor HOME is set")?.join("registry/src");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let folders = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    ensure!(!folders.is_empty(), "{} is empty: run `cargo fetch`", folder.display());
    Ok(folders)
}

fn output(command: &mut Command) -> Option<String> {
    // A build script runs with the workspace's toolchain set: the question is about others.
    let out = command.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN").output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}
