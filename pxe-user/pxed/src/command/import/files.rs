//! Read access to the source files. The rest of the import works on texts, so that tests use files in memory. Two functions use
//! the disk directly: `reader::same` resolves links to recognize a file that is named twice, and `super::create` writes the
//! result.

use std::io::{self, Read as _};
use std::path::Path;

/// Size of the largest file that the import reads, in bytes. A larger file is not a configuration.
const FILE_MAX: u64 = 4 << 20;

/// The type of the object at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
}

/// Read access to files and directories.
pub(super) trait Files {
    /// The type of the object at `path`. `None` if nothing is there, or something that is neither a file nor a directory.
    fn kind(&self, path: &Path) -> Option<Kind>;
    /// The content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The names of all entries in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
}

/// The files of this host.
#[derive(Debug)]
pub(super) struct Disk;

impl Files for Disk {
    fn kind(&self, path: &Path) -> Option<Kind> {
        let metadata = std::fs::metadata(path).ok()?;
        if metadata.is_dir() { Some(Kind::Directory) } else { metadata.is_file().then_some(Kind::File) }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // Check the type before opening the file, because opening a FIFO waits for its writer.
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
