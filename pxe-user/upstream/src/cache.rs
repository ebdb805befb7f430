//! [`Cache`]: the files of fetched images on disk, in one directory that only the daemon writes to.
//!
//! | file | contents |
//! |---|---|
//! | `pxed-blob-SHA256` | a file of an image, complete and verified |
//! | `pxed-image-NAME.json` | the version of an image that is in force |
//! | `pxed-partial-*` | what is being written; removed at the next start |
//!
//! A file becomes visible by a rename, after its bytes are on disk. No name of a file elsewhere becomes a path here.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use pxe_content::boot::{Digest, Stored};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};
use sha2::{Digest as _, Sha256};

use crate::error::FetchError;
use crate::evict::{Blob, NoRoom, evict};
use crate::source::parse_digest;
use crate::version::{StoredFile, Version};

const BLOB: &str = "pxed-blob-";
const PARTIAL: &str = "pxed-partial-";
/// The longest note of a version.
const NOTE_MAX: u64 = 4 << 20;

/// The directory with the files, and its bound.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
    max: u64,
}

/// Digests of files that images use.
pub(crate) type InUse = BTreeSet<[u8; 32]>;

impl Cache {
    /// A cache of at most `max` bytes. It makes and reads nothing yet.
    #[must_use]
    pub fn new(directory: PathBuf, max: u64) -> Self {
        Self { directory, max }
    }

    /// The version of an image that is complete here. `None` if there is none: then the image is fetched again.
    #[must_use]
    pub fn version(&self, image: &str) -> Option<Version> {
        let mut text = Vec::new();
        let note = File::open(self.note(image)).ok()?;
        note.take(NOTE_MAX).read_to_end(&mut text).ok()?;
        let version: Version = serde_json::from_slice(&text).ok()?;
        let is_here = |size: u64, digest: &Digest| self.size_of(digest) == Some(size);
        let is_whole = version.has_plain_names()
            && version.files.values().all(|file| is_here(file.size, &file.digest()));
        is_whole.then_some(version)
    }

    /// Where the catalogue finds the files of a version.
    #[must_use]
    pub fn stored(&self, version: &Version) -> Stored {
        let file = |(name, file): (&String, &StoredFile)| {
            Some((name.parse().ok()?, format!("{BLOB}{}", file.digest())))
        };
        Stored { directory: self.directory.clone(), files: version.files.iter().filter_map(file).collect() }
    }

    /// The size of a complete file. `None` if it is not here.
    pub(crate) fn size_of(&self, digest: &Digest) -> Option<u64> {
        fs::symlink_metadata(self.blob(digest)).ok().filter(fs::Metadata::is_file).map(|found| found.len())
    }

    /// Makes the directory, and removes what an earlier process has not finished.
    pub(crate) fn tidy(&self) {
        // If it cannot be made, the first file that is written says why.
        let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        for path in self.files(PARTIAL) {
            let _ = fs::remove_file(path);
        }
    }

    /// Reads the files of a version again, and removes those whose bytes have changed. Returns whether all are whole.
    pub(crate) fn verify(&self, version: &Version) -> bool {
        let mut is_whole = true;
        for file in version.files.values() {
            if digest_of(&self.blob(&file.digest())).ok() != Some(file.digest()) {
                let _ = fs::remove_file(self.blob(&file.digest()));
                is_whole = false;
            }
        }
        is_whole
    }

    /// Makes room for a file, and begins to write it.
    pub(crate) fn begin(&self, url: &str, size: u64, in_use: &InUse) -> Result<Partial<'_>, FetchError> {
        if size > self.max {
            return Err(FetchError::TooLarge { url: url.to_owned(), size, max: self.max });
        }
        let removed = evict(&self.blobs(), in_use, size, self.max).map_err(|NoRoom { in_use }| {
            FetchError::CacheFull { url: url.to_owned(), size, in_use, max: self.max }
        })?;
        for digest in removed {
            let path = self.blob(&digest);
            fs::remove_file(&path).map_err(|error| disk("remove", &path, &error))?;
        }
        let path = self.partial();
        let file = create(&path).map_err(|error| disk("write", &path, &error))?;
        Ok(Partial { cache: self, path, file, hash: Sha256::new(), size: 0 })
    }

    /// Notes that this version is in force from now on.
    pub(crate) fn publish(&self, image: &str, version: &Version) -> Result<(), FetchError> {
        let path = self.partial();
        let failed = |error: io::Error| disk("write", &path, &error);
        let text = serde_json::to_vec(version).map_err(|error| failed(error.into()))?;
        let mut file = create(&path).map_err(failed)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&path, self.note(image)).map_err(failed)?;
        for file in version.files.values() {
            // The time of use, by which `evict` chooses. Without it this file is removed earlier, once it is not in use.
            let _ = self.touch(&file.digest());
        }
        Ok(())
    }

    fn touch(&self, digest: &Digest) -> io::Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let file = OpenOptions::new().append(true).open(self.blob(digest))?;
        Ok(futimens(file, &Timestamps { last_access: now, last_modification: now })?)
    }

    fn blobs(&self) -> Vec<Blob> {
        let blob = |path: PathBuf| {
            let found = fs::symlink_metadata(&path).ok()?;
            let digest = path.file_name()?.to_str()?.strip_prefix(BLOB).and_then(parse_digest)?;
            Some(Blob { digest, size: found.len(), used: u64::try_from(found.mtime()).unwrap_or_default() })
        };
        self.files(BLOB).into_iter().filter_map(blob).collect()
    }

    fn files(&self, start: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let is_it = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(start.as_bytes()))
        };
        entries.map(|entry| entry.path()).filter(is_it).collect()
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{BLOB}{digest}"))
    }

    /// The file that is being written. One thread writes one file at a time. A predecessor that ends meanwhile has another one.
    fn partial(&self) -> PathBuf {
        self.directory.join(format!("{PARTIAL}{}", std::process::id()))
    }

    fn note(&self, image: &str) -> PathBuf {
        self.directory.join(format!("pxed-image-{image}.json"))
    }
}

/// A file that is being written. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Partial<'a> {
    cache: &'a Cache,
    path: PathBuf,
    file: File,
    hash: Sha256,
    size: u64,
}

impl Partial<'_> {
    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(bytes).map_err(|error| disk("write", &self.path, &error))?;
        self.hash.update(bytes);
        self.size = self.size.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// The bytes so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The SHA-256 so far.
    pub(crate) fn digest(&self) -> Digest {
        Digest(self.hash.clone().finalize().into())
    }

    /// Makes the file visible, after its bytes are on disk.
    pub(crate) fn finish(self) -> Result<(), FetchError> {
        let path = self.cache.blob(&self.digest());
        let done = self.file.sync_all().and_then(|()| fs::rename(&self.path, &path));
        done.map_err(|error| disk("write", &path, &error))
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        // After `finish` there is no such file.
        let _ = fs::remove_file(&self.path);
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn digest_of(path: &Path) -> io::Result<Digest> {
    Ok(Digest::of(File::open(path)?)?.1)
}

fn disk(what: &'static str, path: &Path, error: &io::Error) -> FetchError {
    FetchError::Disk { what, path: path.to_owned(), why: error.to_string() }
}
