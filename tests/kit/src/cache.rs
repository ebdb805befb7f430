//! The user's cache: folders with downloads and results of long builds.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

use crate::command;

/// Returns the folder `name` of the cache. If it does not exist, `fill` makes it. A lock makes other processes wait
/// meanwhile.
///
/// # Errors
/// If the cache is not writable, or `fill` fails.
pub fn folder(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let (folder, _lock) = place(name)?;
    if !folder.is_dir() {
        // Fill under another name and rename at the end, so that an interrupted download is never used.
        let unfinished = beside(&folder, "unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        let filled = fill(&unfinished).and_then(|()| Ok(fs::rename(&unfinished, &folder)?));
        if filled.is_err() && unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        filled.with_context(|| format!("cannot fill {}", folder.display()))?;
    }
    Ok(folder)
}

/// Removes a folder from the cache, so that the next caller fills it again.
pub fn forget(name: &str) -> Result<()> {
    let (folder, _lock) = place(name)?;
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

/// `FOLDER.SUFFIX`. `Path::with_extension` would replace the end of a name with a dot, such as `6.1`.
fn beside(folder: &Path, suffix: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// The path of a folder of the cache, and a lock on it.
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
