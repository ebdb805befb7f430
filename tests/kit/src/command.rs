//! Finds and runs other programs, as root where necessary.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The folder of the cache with programs that set-up has unpacked, because it could not install them.
pub const UNPACKED: &str = "unpacked";

/// Finds a program in `PATH`, then in the folders for the administrator's programs, which an ordinary user's `PATH` often
/// leaves out, then where set-up installs programs: cargo's folder, and the cache.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .chain(cargo_bin())
        .chain(unpacked())
        .map(|folder| folder.join(program))
        .find(|file| is_executable(file))
}

/// The folder in which cargo installs programs. A distribution's cargo does not add it to `PATH`.
fn cargo_bin() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cargo"));
    Some(env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)?.join("bin"))
}

fn unpacked() -> impl Iterator<Item = PathBuf> {
    let folders = cache_dir().ok().and_then(|cache| cache.join(UNPACKED).read_dir().ok());
    folders.into_iter().flatten().flatten().map(|folder| folder.path().join("bin"))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Whether this process runs as root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command that runs as root: through `sudo` if this process is not root.
///
/// # Errors
/// If this process is not root and there is no `sudo`.
pub fn as_root<S: AsRef<OsStr>>(program: S) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    let sudo = find("sudo").context("this needs root, and `sudo` is not installed: run it as root")?;
    let mut command = Command::new(sudo);
    // The daemon reads this variable, and sudo would drop it.
    command.args(["--preserve-env=RUST_LOG", "--"]).arg(program);
    Ok(command)
}

/// The variables that tests need and sudo would drop, as `NAME=VALUE`: the places of cargo and of its builds, the
/// verbosity, and pxed's own.
pub fn kept_environment() -> impl Iterator<Item = OsString> {
    let kept = [
        "PATH",
        "HOME",
        "XDG_CACHE_HOME",
        "CARGO",
        "CARGO_HOME",
        "CARGO_TARGET_DIR",
        "RUSTUP_HOME",
        "RUST_BACKTRACE",
        "CI",
    ];
    let is_kept = move |name: &str| kept.contains(&name) || name.starts_with("PXED_");
    env::vars_os().filter(move |(name, _)| name.to_str().is_some_and(&is_kept)).map(
        |(mut assignment, value)| {
            assignment.push("=");
            assignment.push(value);
            assignment
        },
    )
}

/// Runs a command with the input and output of this process, and waits until it ends.
///
/// # Errors
/// If it does not start, or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    ensure!(status.success(), "`{line}` ended with {status}");
    Ok(())
}

/// Runs a command, and returns its standard output.
///
/// # Errors
/// If it does not start, or fails. The error contains its standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let line = shown(command);
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{line}`"))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        bail!("`{line}` ended with {}: {}", out.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// A command as a line for a shell.
#[must_use]
pub fn shown(command: &Command) -> String {
    let variables =
        command.get_envs().filter_map(|(name, value)| Some(format!("{}={}", name.display(), quoted(value?))));
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The root of the workspace.
///
/// # Panics
/// Never: the crate lies two folders below it.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies two folders below the workspace")
}

/// The `cargo` that started this process, or the one in `PATH`.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    cargo
}

/// Runs a cargo command that builds, and returns its JSON messages.
///
/// # Errors
/// If it does not start, or something does not compile.
pub fn messages(cargo: &mut Command) -> Result<Vec<Value>> {
    let line = shown(cargo);
    cargo.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let out = cargo.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start `{line}`"))?;
    ensure!(out.status.success(), "`{line}` ended with {}", out.status);
    let lines = String::from_utf8_lossy(&out.stdout);
    Ok(lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The program that one of these messages names, if any.
#[must_use]
pub fn artifact(message: &Value) -> Option<PathBuf> {
    (message["reason"] == "compiler-artifact")
        .then(|| message["executable"].as_str().map(PathBuf::from))
        .flatten()
}

/// The folder in which cargo builds.
#[must_use]
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), |d| workspace().join(d))
}

/// The folder of the cache: `$XDG_CACHE_HOME/pxed`.
///
/// # Errors
/// If the environment has neither `XDG_CACHE_HOME` nor `HOME`.
pub fn cache_dir() -> Result<PathBuf> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute()).or_else(home);
    let base = base.context("there is no place for downloads: set XDG_CACHE_HOME or HOME")?;
    Ok(base.join("pxed"))
}

/// The cargo profile of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Not optimised: builds in a minute, because it shares dependencies with xtask, and is fast enough for some machines
    /// in a lab.
    Dev,
    /// For a real network. The first build takes some minutes.
    Release,
}

/// Builds the daemon, and returns its path.
///
/// # Errors
/// If it does not compile.
pub fn build_pxed(profile: Profile) -> Result<PathBuf> {
    let (name, more): (_, &[&str]) = match profile {
        Profile::Dev => ("debug", &[]),
        Profile::Release => ("release", &["--release"]),
    };
    println!("run: cargo builds pxed ({name}); the first build takes some minutes");
    run(cargo().args(["build", "--bin", "pxed"]).args(more))?;
    Ok(target_dir().join(name).join("pxed"))
}

/// Replaces this process by the same program as root, for the part that needs root.
///
/// # Errors
/// If there is no `sudo`, or it does not start. Otherwise this function does not return.
pub fn again_as_root(task: &str, pxed: Option<&Path>, arguments: &[OsString]) -> Result<()> {
    let mut again = as_root("env")?;
    again.args(kept_environment()).arg(env::current_exe()?).arg(task);
    if let Some(pxed) = pxed {
        again.arg("--pxed").arg(pxed);
    }
    again.arg("--").args(arguments);
    println!("run: the lab makes network namespaces, so it needs root: {}", shown(&again));
    let error = std::os::unix::process::CommandExt::exec(&mut again);
    bail!("cannot start sudo: {error}")
}

/// Gives the files that root made in `out` to the user who called sudo.
pub fn give_back(out: &Path) {
    let id = |name| env::var(name).ok().and_then(|id| id.parse().ok());
    let (Some(user), Some(group)) = (id("SUDO_UID"), id("SUDO_GID")) else { return };
    let mut left = vec![out.parent().unwrap_or(out).to_owned()];
    while let Some(path) = left.pop() {
        if path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
            left.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|f| f.path()));
        }
        drop(chown(&path, Some(user), Some(group)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_can_be_typed_again() {
        let mut command = Command::new("echo");
        command.args(["plain", "two words", "it's", ""]).env("A", "b c");
        assert_eq!(shown(&command), r"A='b c' echo plain 'two words' 'it'\''s' ''");
        let typed = Command::new("sh").arg("-c").arg(shown(&command)).output().expect("sh");
        assert_eq!(typed.stdout, b"plain two words it's \n");
    }
}
