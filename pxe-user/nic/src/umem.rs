//! The UMEM: memory in chunks of one frame each, which the kernel and this process hand to each other.
#![expect(unsafe_code, reason = "memory that the kernel writes, behind tokens that make its use exclusive")]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Space that the kernel reserves in front of a received frame (`XDP_PACKET_HEADROOM`), in bytes.
pub(super) const HEADROOM: u32 = 256;

/// A token for one chunk. Its owner alone may read and write the chunk; nothing else may, not even the
/// kernel.
///
/// The token is neither `Clone` nor `Copy`. The kernel gets a chunk by its address and returns it by its
/// address.
#[derive(Debug)]
pub(super) struct Chunk(u64);

impl Chunk {
    /// The chunk's offset in the UMEM, in bytes, as in a descriptor.
    pub(super) fn address(&self) -> u64 {
        self.0
    }
}

/// The memory, and which of its chunks the kernel has.
#[derive(Debug)]
pub(super) struct Umem {
    area: NonNull<u8>,
    len: usize,
    chunk_len: u32,
    /// Whether the kernel has the chunk, for each chunk.
    lent: Box<[AtomicBool]>,
    /// Number of addresses that [`Self::reclaim`] has rejected.
    refused: AtomicU64,
}

// SAFETY: the area is plain memory. Each access needs a `Chunk`, and there is only one `Chunk` for each part
// of the area.
unsafe impl Send for Umem {}
// SAFETY: as above. `&Umem` alone gives access to no memory.
unsafe impl Sync for Umem {}

impl Umem {
    /// Allocates memory for `chunks` chunks of `chunk_len` bytes (a power of two, 2048 or 4096). Returns it
    /// with a token for each chunk.
    ///
    /// # Errors
    /// The system's error, when there is not enough memory.
    pub(super) fn new(chunks: u32, chunk_len: u32) -> io::Result<(Self, Vec<Chunk>)> {
        let len = chunks as usize * chunk_len as usize;
        // SAFETY: an anonymous mapping at an address that the kernel chooses touches no existing memory.
        let area = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        if area == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let area = NonNull::new(area.cast()).ok_or_else(|| io::Error::other("mmap returned null"))?;
        let tokens = (0..chunks).map(|index| Chunk(u64::from(index) * u64::from(chunk_len))).collect();
        let lent = (0..chunks).map(|_| AtomicBool::new(false)).collect();
        Ok((Self { area, len, chunk_len, lent, refused: AtomicU64::new(0) }, tokens))
    }

    /// The address of the memory, for its registration with the kernel.
    pub(super) fn address(&self) -> u64 {
        self.area.as_ptr() as u64
    }

    /// Size of the memory, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.len as u64
    }

    /// Size of a chunk, in bytes.
    pub(super) fn chunk_len(&self) -> u32 {
        self.chunk_len
    }

    /// Marks the chunk as the kernel's: its address is now in a ring.
    #[inline]
    pub(super) fn mark_lent(&self, chunk: Chunk) {
        if let Some(lent) = self.lent_at(chunk.0) {
            // The positions of the rings order this store. The kernel sees the chunk only when it is
            // submitted.
            lent.store(true, Ordering::Relaxed);
        }
    }

    /// Takes back the chunk in which `address` lies. Returns `None`, and counts the address, if the kernel
    /// does not have that chunk: a driver that returns a chunk twice must not create two tokens for it.
    #[inline]
    pub(super) fn reclaim(&self, address: u64) -> Option<Chunk> {
        if self.lent_at(address).is_some_and(|lent| lent.swap(false, Ordering::Relaxed)) {
            return Some(Chunk(address & !(u64::from(self.chunk_len) - 1)));
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Number of addresses that the kernel returned although it did not have their chunks.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    #[inline]
    fn lent_at(&self, address: u64) -> Option<&AtomicBool> {
        self.lent.get(usize::try_from(address / u64::from(self.chunk_len)).ok()?)
    }

    /// Returns `len` bytes at `address`; `None` if they do not all lie in `chunk`.
    #[inline]
    pub(super) fn bytes<'a>(&'a self, chunk: &'a Chunk, address: u64, len: u32) -> Option<&'a [u8]> {
        let end = address.checked_add(u64::from(len))?;
        if address < chunk.0 || end > chunk.0 + u64::from(self.chunk_len) || end > self.len as u64 {
            return None;
        }
        // SAFETY: the range lies in the chunk and the chunk in the area (checked above). The token is
        // borrowed, so neither the kernel nor anything else writes to the chunk meanwhile.
        Some(unsafe { std::slice::from_raw_parts(self.area.as_ptr().add(address as usize), len as usize) })
    }

    /// Returns the whole chunk, to be written.
    #[inline]
    pub(super) fn chunk_mut<'a>(&'a self, chunk: &'a mut Chunk) -> &'a mut [u8] {
        // SAFETY: `new` creates one token for each chunk, and `reclaim` creates one only for a chunk whose
        // token `mark_lent` has taken. So the chunk lies in the area and has one token. That token is borrowed
        // mutably, so this is the only reference to the chunk.
        unsafe {
            std::slice::from_raw_parts_mut(self.area.as_ptr().add(chunk.0 as usize), self.chunk_len as usize)
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Umem {
    /// Returns a token for the chunk in which `address` lies, for a test that plays the kernel.
    pub(super) fn kernel_chunk(&self, address: u64) -> Chunk {
        Chunk(address & !(u64::from(self.chunk_len) - 1))
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        // SAFETY: `area` and `len` are those of the mapping, and no slice of it outlives `self`.
        unsafe { libc::munmap(self.area.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_gives_access_to_itself_only() {
        let (umem, mut chunks) = Umem::new(4, 2048).unwrap();
        umem.chunk_mut(&mut chunks[1])[..4].copy_from_slice(b"pxed");
        assert_eq!(umem.bytes(&chunks[1], 2048, 4), Some(&b"pxed"[..]));
        assert_eq!(umem.bytes(&chunks[1], 2047, 4), None);
        assert_eq!(umem.bytes(&chunks[1], 4094, 4), None);
        assert_eq!(umem.bytes(&chunks[3], u64::MAX, 4), None);
    }

    #[test]
    fn an_address_inside_a_chunk_that_was_lent_reclaims_it_once() {
        let (umem, mut chunks) = Umem::new(4, 2048).unwrap();
        umem.mark_lent(chunks.remove(1));
        assert_eq!(umem.reclaim(2048 + 256).map(|chunk| chunk.address()), Some(2048));
        for address in [2048, 0, 4 * 2048, u64::MAX] {
            assert!(umem.reclaim(address).is_none(), "{address}");
        }
        assert_eq!(umem.refused(), 4);
    }
}
