//! The user's cache: folders that are filled once, by downloads or by long builds.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

use crate::command;

/// A folder of the cache, by its path below it. It is filled first where it is not there. Several processes may call this at
/// a time: the others wait.
///
/// # Errors
/// When the cache cannot be written, and what `fill` says.
pub fn folder(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let (folder, _lock) = place(name)?;
    if !folder.is_dir() {
        // Filled beside the wanted one: what is under the right name is whole.
        let unfinished = beside(&folder, "unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        let filled = fill(&unfinished).and_then(|()| Ok(fs::rename(&unfinished, &folder)?));
        if filled.is_err() && unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        filled.with_context(|| format!("it is kept in {} once it is there", folder.display()))?;
    }
    Ok(folder)
}

/// Removes a folder from the cache, so that it is filled again.
///
/// # Errors
/// When it cannot be removed.
pub fn forget(name: &str) -> Result<()> {
    let (folder, _lock) = place(name)?;
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

/// `FOLDER.SUFFIX`. The folder's own name may have a dot in it.
fn beside(folder: &Path, suffix: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Where a folder of the cache is, and the lock on it.
fn place(name: &str) -> Result<(PathBuf, File)> {
    let folder = command::cache_dir()?.join(name);
    let parent = folder.parent().unwrap_or(&folder);
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let path = beside(&folder, "lock");
    let lock = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    flock(&lock, FlockOperation::LockExclusive).with_context(|| format!("cannot lock {}", path.display()))?;
    Ok((folder, lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_dots_do_not_meet() {
        assert_eq!(beside(Path::new("/c/6.1"), "lock"), Path::new("/c/6.1.lock"));
        assert_eq!(beside(Path::new("/c/6.12"), "lock"), Path::new("/c/6.12.lock"));
    }
}
