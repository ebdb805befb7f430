//! Writes man pages and completions. The packaged program generates them from its own command line.
//!
//! `pxe-user/pxed/Cargo.toml` names the files for cargo-deb and cargo-generate-rpm. So they are always in the workspace's
//! `target/assets`, even if cargo builds elsewhere.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pxe_kit::command;
use rustix::fs::{FlockOperation, flock};

/// The shells, and the names of their files. zsh requires the underscore.
const SHELLS: [(&str, &str); 3] = [("bash", "pxed.bash"), ("zsh", "_pxed"), ("fish", "pxed.fish")];

/// Locks `target/assets` while it is packaged, because tests run in parallel.
pub(super) fn lock() -> Result<File> {
    // This file always exists, and root and the user can open it.
    let file = File::open(command::workspace().join("pxe-user/pxed/Cargo.toml"))
        .context("cannot open pxe-user/pxed/Cargo.toml")?;
    flock(&file, FlockOperation::LockExclusive).context("cannot lock pxe-user/pxed/Cargo.toml")?;
    Ok(file)
}

/// Makes `program` write its man pages and completions into `target/assets/{man,completions}`, and removes the old ones.
///
/// # Errors
/// If the program does not run on this host, or a file cannot be written.
pub fn write(program: &Path) -> Result<()> {
    let folder = command::workspace().join("target/assets");
    write_into(program, &folder)?;
    give_to_the_owner(&folder)
}

fn write_into(program: &Path, folder: &Path) -> Result<()> {
    // Otherwise the page of a removed subcommand would be packaged.
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let completions = folder.join("completions");
    fs::create_dir_all(&completions).with_context(|| format!("cannot make {}", completions.display()))?;
    command::output(Command::new(program).arg("man").arg(folder.join("man")))?;
    for (shell, name) in SHELLS {
        let script = command::output(Command::new(program).args(["completions", shell]))?;
        ensure!(!script.is_empty(), "{} has no completions for {shell}", program.display());
        fs::write(completions.join(name), script).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

/// Gives the files to the owner of the workspace. The tests run as root, and the user must be able to replace the files.
fn give_to_the_owner(folder: &Path) -> Result<()> {
    if !command::is_root() {
        return Ok(());
    }
    let owner = fs::metadata(command::workspace())?;
    let mut paths: Vec<PathBuf> = vec![folder.to_owned()];
    paths.extend(folder.parent().map(Path::to_owned));
    for inner in fs::read_dir(folder)? {
        let inner = inner?.path();
        for file in fs::read_dir(&inner)? {
            paths.push(file?.path());
        }
        paths.push(inner);
    }
    for path in paths {
        lchown(&path, Some(owner.uid()), Some(owner.gid()))
            .with_context(|| format!("cannot change the owner of {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_the_program_no_longer_has_goes_away() {
        let folder = std::env::temp_dir().join(format!("pxed-assets-{}", std::process::id()));
        fs::create_dir_all(folder.join("out/man")).unwrap();
        fs::write(folder.join("out/man/pxed-gone.1"), "").unwrap();
        let program = folder.join("program");
        let script = "#!/bin/sh\n[ \"$1\" = man ] && mkdir \"$2\" && : >\"$2/pxed.1\" || echo \"$2\"\n";
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        write_into(&program, &folder.join("out")).unwrap();
        assert!(!folder.join("out/man/pxed-gone.1").exists() && folder.join("out/man/pxed.1").exists());
        assert_eq!(fs::read_to_string(folder.join("out/completions/_pxed")).unwrap(), "zsh\n");
        fs::remove_dir_all(folder).unwrap();
    }
}
