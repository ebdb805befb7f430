//! Finding and running other programs, as root where that is needed.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Below the cache: programs that set-up has unpacked, since they could not be installed.
pub const UNPACKED: &str = "unpacked";

/// Where a program is, looking through `PATH`, then the folders for the administrator's programs, which an ordinary user's
/// `PATH` often leaves out, then where set-up puts programs: cargo's folder, and the cache.
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

/// Where cargo installs programs. A distribution's cargo leaves that out of `PATH`.
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

/// Whether this process may do everything.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command line that runs as root: through `sudo` when this process is not root.
///
/// # Errors
/// When it is not root and there is no `sudo`.
pub fn as_root<S: AsRef<OsStr>>(program: S) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    let sudo = find("sudo").context("this needs root and there is no `sudo` here: run it as root")?;
    let mut command = Command::new(sudo);
    // What sudo would drop and the daemon listens to.
    command.args(["--preserve-env=RUST_LOG", "--"]).arg(program);
    Ok(command)
}

/// What sudo would drop and tests need: where cargo is and builds, what they shall print, and pxed's own variables.
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

/// Runs a command to its end with this process's own input and output.
///
/// # Errors
/// When it cannot be started or ends with anything but success.
pub fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    ensure!(status.success(), "`{line}` ended with {status}");
    Ok(())
}

/// What a command prints.
///
/// # Errors
/// When it cannot be started or fails; the error carries what it said.
pub fn output(command: &mut Command) -> Result<String> {
    let line = shown(command);
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{line}`"))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        bail!("`{line}` ended with {}: {}", out.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// A command as a person would type it.
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

/// The folder that holds the workspace.
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

/// The `cargo` that runs us, or the one in `PATH`.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    cargo
}

/// Runs a cargo that builds; what it tells of in JSON.
///
/// # Errors
/// When it cannot be started, or something does not compile.
pub fn messages(cargo: &mut Command) -> Result<Vec<Value>> {
    let line = shown(cargo);
    cargo.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let out = cargo.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start `{line}`"))?;
    ensure!(out.status.success(), "`{line}` ended with {}", out.status);
    let lines = String::from_utf8_lossy(&out.stdout);
    Ok(lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The program that one of these messages tells of.
#[must_use]
pub fn artifact(message: &Value) -> Option<PathBuf> {
    (message["reason"] == "compiler-artifact")
        .then(|| message["executable"].as_str().map(PathBuf::from))
        .flatten()
}

/// Where cargo builds.
#[must_use]
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), |d| workspace().join(d))
}

/// The folder for what is fetched once: `$XDG_CACHE_HOME/pxed`.
///
/// # Errors
/// When the environment names no place.
pub fn cache_dir() -> Result<PathBuf> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute()).or_else(home);
    let base =
        base.context("neither XDG_CACHE_HOME nor HOME says where to keep what is fetched: set one of them")?;
    Ok(base.join("pxed"))
}

/// How the daemon is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Not optimised: built in a minute of what this program is built of, and fast enough for a handful of machines in a lab.
    Dev,
    /// For a real network: takes some minutes the first time.
    Release,
}

/// Builds the daemon, and tells where it is.
///
/// # Errors
/// When it does not compile.
pub fn build_pxed(profile: Profile) -> Result<PathBuf> {
    let (name, more): (_, &[&str]) = match profile {
        Profile::Dev => ("debug", &[]),
        Profile::Release => ("release", &["--release"]),
    };
    println!("run: cargo builds pxed ({name}); the first time that takes some minutes");
    run(cargo().args(["build", "--bin", "pxed"]).args(more))?;
    Ok(target_dir().join(name).join("pxed"))
}

/// Becomes this program as root, for the part that needs it.
///
/// # Errors
/// When there is no `sudo`, or it cannot be started; else it does not come back.
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

/// What root made in `out` belongs to the user who called sudo.
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
