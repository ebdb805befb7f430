//! Images: immutable snapshots of boot files.

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

/// Where an image's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Written by this program.
    Generated,
    /// A file, by its true path after all links.
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

/// What tells one version of a file from another without reading it.
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

/// What a file is in a boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// A boot loader: it loads other files.
    Loader,
    /// A loader's configuration or script.
    Config,
    /// The last file that a boot needs: a machine that has all of it has booted.
    Payload,
    /// Anything else: modules, the kernel before its initrd, or a tree's file that nobody has told us about.
    #[default]
    Other,
}

/// Numbers images, so that one is never taken for another that lies at the same address later.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A snapshot of a boot file. Whoever holds it has these bytes, whatever becomes of the file.
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
    /// An image of bytes that this program wrote.
    pub(super) fn generated(name: FileName, bytes: &[u8], memory: &Arc<Memory>) -> io::Result<Self> {
        Ok(Self::of(name, Origin::Generated, Role::Config, Sealed::from_bytes(bytes)?, memory))
    }

    /// An image of bytes that are no file's any more.
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

    /// One attempt to copy an open regular file; `before` is its state when it was opened.
    ///
    /// # Errors
    /// [`Refusal::Changing`] if the file did not hold still meanwhile, or the system's reason.
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
        // One byte more than expected, to notice a file that grew.
        let bytes = Sealed::copy(file, size.saturating_add(1))?;
        let after = rustix::fs::fstat(file)?;
        if bytes.len() as u64 != size || !same_version(before, &after) {
            return Err(Refusal::Changing);
        }
        let (origin, used) = (Origin::File(path), AtomicU64::new(0));
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Ok(Self { id, name, origin, role, stamp: Some(stamp), used, bytes, _share: share })
    }

    /// What it is in a boot.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// A number that no other image of this process has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The name that it is served under.
    #[must_use]
    pub fn name(&self) -> &FileName {
        &self.name
    }

    /// The contents.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The sealed memory with the contents, for other processes; small images have none.
    #[must_use]
    pub fn memory(&self) -> Option<BorrowedFd<'_>> {
        self.bytes.memory()
    }

    /// The size in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Where the bytes come from.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The SHA-256 of the contents: computed now, which takes about a second for a gigabyte.
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

/// A SHA-256; `Display` prints it in hexadecimal, as sha256sum does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Reads to the end; also says how many bytes there were.
    pub(super) fn of(mut source: impl Read) -> io::Result<(u64, Self)> {
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
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(image.sha256().to_string(), expected);
        assert_eq!(Digest::of(&b"abc"[..]).unwrap(), (3, image.sha256()));
        drop(image);
        assert_eq!(memory.used(), 0);
    }
}
