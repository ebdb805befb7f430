//! Bytes in memory that nobody can change: a sealed memfd, mapped into this process.
#![expect(
    unsafe_code,
    reason = "a mapping of a file is sound only if nobody changes the file: the seals see to it"
)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use memmap2::{Mmap, MmapOptions};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

/// These seals forbid everything that could change a memfd: to shrink, grow or write it, and to add seals.
const SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE).union(SealFlags::SEAL);

/// Immutable bytes. A change of the file that they were copied from does not reach them, even if the file
/// shrinks.
#[derive(Debug)]
pub(super) struct Sealed {
    map: Mmap,
    /// The memfd, for a hand-over to another process. `None` for copies of bytes: there may be one such copy
    /// for each machine.
    memory: Option<OwnedFd>,
}

impl Sealed {
    /// Copies at most `limit` bytes from `source`.
    ///
    /// # Errors
    /// The system's error if it cannot read the source or has no memory.
    pub(super) fn copy(source: impl Read, limit: u64) -> io::Result<Self> {
        let mut memory = memfd()?;
        // The copy happens inside the kernel if the source is a file. Otherwise std reads and writes.
        io::copy(&mut source.take(limit), &mut memory)?;
        seal(&memory)?;
        Self::adopt(memory.into())
    }

    /// Copies a slice of bytes.
    ///
    /// # Errors
    /// The system's error if it has no memory.
    pub(super) fn from_bytes(bytes: &[u8]) -> io::Result<Self> {
        let mut memory = memfd()?;
        memory.write_all(bytes)?;
        seal(&memory)?;
        Ok(Self { memory: None, ..Self::adopt(memory.into())? })
    }

    /// Maps a memfd that is sealed already.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if the seals are not all there, or the system's error if the memfd
    /// cannot be mapped.
    pub(super) fn adopt(memory: OwnedFd) -> io::Result<Self> {
        if !rustix::fs::fcntl_get_seals(&memory)?.contains(SEALS) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "memory that is not sealed"));
        }
        // The mapping is private: before Linux 6.7 the kernel refuses a shared mapping of a file with
        // F_SEAL_WRITE, even a read-only one. It is populated, so that no page fault delays a transfer.
        // SAFETY: All of SEALS are set, as checked above, and only a memfd can have them. So no descriptor
        // can change the contents or the length of the memfd from here on, not even one that another process
        // opened through /proc. The kernel refuses F_SEAL_WRITE while writable mappings exist, so there are
        // no such mappings either. Therefore the bytes neither change nor end under a reader (no SIGBUS).
        let map = unsafe { MmapOptions::new().populate().map_copy_read_only(&memory)? };
        Ok(Self { map, memory: Some(memory) })
    }

    /// The memfd, which other processes can map as well. `None` for copies of bytes.
    pub(super) fn memory(&self) -> Option<BorrowedFd<'_>> {
        self.memory.as_ref().map(AsFd::as_fd)
    }
}

fn seal(memory: &File) -> io::Result<()> {
    Ok(rustix::fs::fcntl_add_seals(memory, SEALS)?)
}

impl Deref for Sealed {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.map
    }
}

fn memfd() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let create = |flags| rustix::fs::memfd_create("pxed-boot-file", flags);
    // Since Linux 6.3 the kernel wants to know whether a memfd may be executable. Older kernels reject the
    // flag.
    match create(flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => Ok(create(flags)?.into()),
        result => Ok(result?.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_copied_up_to_the_limit_and_nothing_is_a_slice_too() {
        assert_eq!(&*Sealed::from_bytes(b"pxed").unwrap(), b"pxed");
        assert_eq!(&*Sealed::copy(&b"0123456789"[..], 4).unwrap(), b"0123");
        assert_eq!(&*Sealed::copy(&b""[..], 4).unwrap(), b"");
        assert_eq!(Sealed::from_bytes(&vec![7; 1 << 20]).unwrap().len(), 1 << 20);
    }

    #[test]
    fn nobody_can_change_what_is_sealed() {
        let mut memory = memfd().unwrap();
        memory.write_all(b"pxed").unwrap();
        let mut other = memory.try_clone().unwrap();
        let unsealed = Sealed::adopt(memory.try_clone().unwrap().into()).unwrap_err();
        assert_eq!(unsealed.kind(), io::ErrorKind::InvalidData);
        seal(&memory).unwrap();
        let sealed = Sealed::adopt(memory.into()).unwrap();
        assert_eq!(&*Sealed::adopt(sealed.memory().unwrap().try_clone_to_owned().unwrap()).unwrap(), b"pxed");
        for attempt in [other.write(b"!").map(drop), other.set_len(0), other.set_len(100)] {
            assert_eq!(attempt.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
        let more = rustix::fs::fcntl_add_seals(&other, SealFlags::FUTURE_WRITE);
        assert_eq!(more, Err(Errno::PERM));
        assert_eq!(&*sealed, b"pxed");
    }
}
