//! Images: immutable snapshots of boot files in memory.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::Stat;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::memory::{Memory, Share};
use super::names::FileName;
use super::refusal::Refusal;
use super::sealed::Sealed;

/// Where the bytes of an image come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// pxed wrote the bytes.
    Generated,
    /// The bytes are a copy of a file. The value is its true path after all links.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generated => f.write_str("generated"),
            Self::File(path) => fmt::Display::fmt(&path.display(), f),
        }
    }
}

/// Distinguishes two versions of a file without reading it: device and inode, size, and the times of the last
/// changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    size: i64,
    mtime: (i64, u64),
    ctime: (i64, u64),
}

impl From<&Stat> for Stamp {
    #[expect(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
    fn from(stat: &Stat) -> Self {
        Self {
            file: (stat.st_dev as u64, stat.st_ino as u64),
            size: stat.st_size as i64,
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as u64),
        }
    }
}

/// The role of a file in a boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// A boot loader: it loads other files.
    Loader,
    /// A configuration or script of a boot loader.
    Config,
    /// The last file that a boot needs. When a machine has received all of it, its boot counts.
    Payload,
    /// Any other file: a module, the kernel before its initrd, or a file of a tree whose role is not known.
    #[default]
    Other,
}

/// The next image's number. A number is never reused, unlike the address of an image in memory.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A snapshot of a boot file. Its bytes stay the same as long as it is held, even if the file changes or goes
/// away.
#[derive(Debug)]
pub struct Image {
    id: u64,
    name: FileName,
    origin: Origin,
    role: Role,
    stamp: Option<Stamp>,
    used: AtomicU64,
    bytes: Sealed,
    _share: Share,
}

impl Image {
    /// An image of bytes that pxed wrote.
    pub(super) fn generated(name: FileName, bytes: &[u8], memory: &Arc<Memory>) -> io::Result<Self> {
        Ok(Self::of(name, Origin::Generated, Role::Config, Sealed::from_bytes(bytes)?, memory))
    }

    /// An image of bytes without a file that could change: it has no [`Stamp`], so no check compares it with
    /// a file.
    pub(super) fn of(
        name: FileName,
        origin: Origin,
        role: Role,
        bytes: Sealed,
        memory: &Arc<Memory>,
    ) -> Self {
        let share = Memory::take(memory, bytes.len() as u64);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Self { id, name, origin, role, stamp: None, used: AtomicU64::new(0), bytes, _share: share }
    }

    /// Attempts once to copy an open regular file. `before` is the state of the file when it was opened.
    ///
    /// # Errors
    /// [`Refusal::Changing`] if the file changed during the copy, or the system's error.
    pub(super) fn copy(
        name: FileName,
        file: &File,
        before: &Stat,
        path: PathBuf,
        role: Role,
        memory: &Arc<Memory>,
    ) -> Result<Self, Refusal> {
        let stamp = Stamp::from(before);
        let size = u64::try_from(before.st_size).unwrap_or_default();
        let share = Memory::take(memory, size);
        // Read one byte more than expected, to notice that the file has grown.
        let bytes = Sealed::copy(file, size.saturating_add(1))?;
        let after = rustix::fs::fstat(file)?;
        if bytes.len() as u64 != size || !same_version(before, &after) {
            return Err(Refusal::Changing);
        }
        let (origin, used) = (Origin::File(path), AtomicU64::new(0));
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Ok(Self { id, name, origin, role, stamp: Some(stamp), used, bytes, _share: share })
    }

    /// The role of the file in a boot.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// A number that no other image of this process has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The name under which pxed serves the image.
    #[must_use]
    pub fn name(&self) -> &FileName {
        &self.name
    }

    /// The contents.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The sealed memory with the contents, for a hand-over to another process. `None` for bytes that pxed
    /// wrote or received as bytes: there may be one such image for each machine, and each would keep a
    /// descriptor open.
    #[must_use]
    pub fn memory(&self) -> Option<BorrowedFd<'_>> {
        self.bytes.memory()
    }

    /// The size in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether the image has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Where the bytes come from.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The SHA-256 of the contents. It is computed at each call, which takes about a second for a gigabyte.
    #[must_use]
    pub fn sha256(&self) -> Digest {
        Digest(Sha256::digest(self.bytes()).into())
    }

    pub(super) fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    pub(super) fn use_at(&self, tick: u64) {
        self.used.store(tick, Ordering::Relaxed);
    }

    pub(super) fn last_use(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

fn same_version(before: &Stat, after: &Stat) -> bool {
    Stamp::from(before) == Stamp::from(after)
}

/// A SHA-256. `Display` writes it in hexadecimal, as sha256sum does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Reads `source` to its end. Returns the number of bytes as well.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn of(mut source: impl Read) -> io::Result<(u64, Self)> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 17];
        let mut size = 0;
        loop {
            match source.read(&mut buffer)? {
                0 => return Ok((size, Self(hash.finalize().into()))),
                len => {
                    hash.update(&buffer[..len]);
                    size += len as u64;
                }
            }
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_image_has_its_bytes_its_hash_and_its_share_of_memory() {
        let memory = Memory::new(100);
        let image = Image::generated("abc".parse().unwrap(), b"abc", &memory).unwrap();
        assert_eq!((image.bytes(), image.len(), memory.used()), (&b"abc"[..], 3, 3));
        // The expected hash is from FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(image.sha256().to_string(), expected);
        assert_eq!(Digest::of(&b"abc"[..]).unwrap(), (3, image.sha256()));
        drop(image);
        assert_eq!(memory.used(), 0);
    }
}
