//! Makes the archive for systems without a package, with the files of the RPM package below `pxed-VERSION-linux-ARCH/`,
//! and the archive of symbols. Both are reproducible: the same input gives the same bytes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pxe_kit::arch::Arch;
use pxe_kit::command;
use serde_json::Value;

use super::program::Program;

/// The instructions in the archive.
const INSTALL: &str = "packaging/INSTALL";

/// The program's path in the table of assets.
const PROGRAM: &str = "target/release/pxed";

/// Packs a built and stripped program into the file `archive`. `target/assets` must exist.
///
/// # Errors
/// If a file is missing, or `tar` fails.
pub(super) fn pack(program: &Path, arch: Arch, archive: &Path) -> Result<()> {
    let root = archive.with_extension("tree");
    let packed = fill(program, &root.join(name(arch))).and_then(|()| tar(&root, &name(arch), archive));
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    packed
}

/// Packs the symbols of a program at the path below `/` where debuggers look for the program's build ID.
pub(super) fn pack_symbols(program: &Program, archive: &Path) -> Result<()> {
    let root = archive.with_extension("tree");
    let file = root.join("usr/lib/debug/.build-id").join(&program.build_id);
    let packed = copy(&program.symbols, &file, 0o644).and_then(|()| tar(&root, "usr", archive));
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    packed
}

/// The archive's name without extension, which is also the name of its folder.
pub(super) fn name(arch: Arch) -> String {
    format!("pxed-{}-linux-{}", env!("CARGO_PKG_VERSION"), arch.debian())
}

fn fill(program: &Path, folder: &Path) -> Result<()> {
    let workspace = command::workspace();
    for asset in assets()? {
        let to = folder.join(place(&asset.to));
        if asset.source == PROGRAM {
            copy(program, &to, asset.mode)?;
            continue;
        }
        let sources = expand(&workspace.join("pxe-user/pxed").join(&asset.source))?;
        for source in sources {
            let is_folder = asset.to.ends_with('/');
            let to =
                source.file_name().filter(|_| is_folder).map_or_else(|| to.clone(), |name| to.join(name));
            copy(&source, &to, asset.mode)?;
        }
    }
    copy(&workspace.join(INSTALL), &folder.join("INSTALL"), 0o644)
}

/// The path in the archive for a path in a package. The archive's folder replaces `/usr`.
fn place(to: &str) -> &str {
    let to = to.trim_start_matches('/');
    to.strip_prefix("usr/").unwrap_or(to)
}

/// A line in the table of a package's files.
struct Asset {
    source: String,
    to: String,
    mode: u32,
}

/// The files of the RPM package. Debian's package has other folders for some of them.
fn assets() -> Result<Vec<Asset>> {
    let mut cargo = command::cargo();
    let metadata = command::output(cargo.args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages.find(|package| package["name"] == "pxed").context("no package pxed")?;
    let assets = package["metadata"]["generate-rpm"]["assets"].as_array();
    let assets = assets.context("pxe-user/pxed/Cargo.toml has no table of an RPM package's files")?;
    let text = |asset: &Value, key: &str| {
        let text = asset[key].as_str().map(str::to_owned);
        text.with_context(|| format!("a file of the RPM package has no {key}"))
    };
    let asset = |asset: &Value| -> Result<Asset> {
        let mode = u32::from_str_radix(&text(asset, "mode")?, 8).context("a mode is an octal number")?;
        Ok(Asset { source: text(asset, "source")?, to: text(asset, "dest")?, mode })
    };
    assets.iter().map(asset).collect()
}

/// The files of a path whose last part may contain one `*`.
fn expand(pattern: &Path) -> Result<Vec<PathBuf>> {
    let last = pattern.file_name().and_then(|name| name.to_str()).context("a file's name")?;
    let Some((start, end)) = last.split_once('*') else { return Ok(vec![pattern.to_owned()]) };
    let folder = pattern.parent().unwrap_or(pattern);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().context("a file's name is not UTF-8")?;
        if entry.file_type()?.is_file() && name.starts_with(start) && name.ends_with(end) {
            files.push(entry.path());
        }
    }
    ensure!(!files.is_empty(), "there is no {}", pattern.display());
    Ok(files)
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Archives `what` in `folder`. The archive does not depend on this machine's owners, times or order of files.
fn tar(folder: &Path, what: &str, archive: &Path) -> Result<()> {
    let unpressed = archive.with_extension("tar");
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--format=gnu", "--owner=root:0", "--group=root:0"]);
    // Fix the modes of folders, which depend on this process's umask.
    tar.args(["--mode=u+rwX,go+rX,go-w", &format!("--mtime=@{}", super::epoch()?)]);
    command::output(tar.arg("--directory").arg(folder).arg("--file").arg(&unpressed).arg(what))?;
    let bytes = Command::new("gzip").args(["--no-name", "-9", "--stdout"]).arg(&unpressed).output();
    let bytes = bytes.context("cannot start `gzip`")?;
    ensure!(bytes.status.success(), "gzip: {}", String::from_utf8_lossy(&bytes.stderr).trim());
    fs::write(archive, bytes.stdout).with_context(|| format!("cannot write {}", archive.display()))?;
    Ok(fs::remove_file(unpressed)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lie_below_the_archive_as_below_usr() {
        assert_eq!(place("/usr/bin/pxed"), "bin/pxed");
        assert_eq!(place("/etc/pxed/pxed.toml"), "etc/pxed/pxed.toml");
    }

    #[test]
    fn a_star_means_files_and_at_least_one() {
        let licences = expand(&command::workspace().join("LICENSE-*")).unwrap();
        assert_eq!(licences.len(), 2);
        assert!(expand(&command::workspace().join("NOTHING-*")).is_err());
        assert_eq!(expand(Path::new("/x/y")).unwrap(), [PathBuf::from("/x/y")]);
    }
}
