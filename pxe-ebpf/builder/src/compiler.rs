//! Finds a compiler and a linker for the kernel's virtual machine. It never installs one.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The environment variable that names a folder with a compiler: see [`Compiler::unpacked`].
pub const OVERRIDE: &str = "PXED_EBPF_COMPILER";
/// The tested version of bpf-linker.
pub const LINKER: &str = "0.13.0";

/// A compiler and its linker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    pub(crate) rustc: PathBuf,
    /// The folder with `bpf-linker`; `None` if it is in `PATH`.
    pub(crate) linker: Option<PathBuf>,
    /// Whether cargo must build `core`, because the compiler has no `core` for the kernel's virtual machine.
    pub(crate) builds_core: bool,
}

impl Compiler {
    /// Returns the first compiler that exists, in this order:
    ///
    /// 1. the folder that `PXED_EBPF_COMPILER` names
    /// 2. the folder in the user's cache into which `cargo xtask ebpf` unpacks its compiler
    /// 3. a nightly of rustup with the source of the standard library, with `bpf-linker` in `PATH`
    ///
    /// # Errors
    /// When there is no compiler, or when `PXED_EBPF_COMPILER` names a folder without one.
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

    /// A compiler in a folder with `bin/rustc`, which has a compiled `core` for bpfel-unknown-none, and
    /// `bin/bpf-linker`. `None` if one of the two files does not exist.
    #[must_use]
    pub fn unpacked(folder: &Path) -> Option<Self> {
        let bin = folder.join("bin");
        let compiler = Self { rustc: bin.join("rustc"), linker: Some(bin.clone()), builds_core: false };
        (bin.join("bpf-linker").is_file() && compiler.rustc.is_file()).then_some(compiler)
    }

    /// A nightly of rustup that builds `core` itself. `None` if the nightly, its source or `bpf-linker` does
    /// not exist.
    #[must_use]
    pub fn nightly() -> Option<Self> {
        // This search must not install a toolchain.
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

    /// Returns the versions of compiler, LLVM and linker, each with its name.
    ///
    /// # Errors
    /// When the compiler or the linker does not run, or does not print its version.
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

/// The folder into which `cargo xtask ebpf` unpacks its compiler. `None` if the environment names neither a
/// cache nor a home directory.
#[must_use]
pub fn cached() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute()).or_else(home)?;
    Some(base.join("pxed/ebpf-compiler"))
}

/// Returns the folders in cargo's home that hold the sources of crates, one for each registry.
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
    // A build script runs with variables for the workspace's toolchain. This command is for another
    // toolchain.
    let out = command.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN").output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}
