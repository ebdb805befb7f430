//! The only way from the import to a disk. Everything else here works on texts, so tests need no directories.

use std::io::{self, Read as _};
use std::path::Path;

/// A configuration file larger than this is none, in bytes.
const FILE_MAX: u64 = 4 << 20;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
}

/// Files that can be read and listed.
pub(super) trait Files {
    /// What is at a path; `None` where nothing is, or something else than a file or a directory.
    fn kind(&self, path: &Path) -> Option<Kind>;
    /// A file's content.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The names in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
}

/// This host's files.
#[derive(Debug)]
pub(super) struct Disk;

impl Files for Disk {
    fn kind(&self, path: &Path) -> Option<Kind> {
        let metadata = std::fs::metadata(path).ok()?;
        if metadata.is_dir() { Some(Kind::Directory) } else { metadata.is_file().then_some(Kind::File) }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // Before it is opened: that alone would wait for a FIFO's writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path)?;
        file.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(io::Error::other(format!("it has more than {} MiB", FILE_MAX >> 20)));
        }
        Ok(bytes)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }
}
