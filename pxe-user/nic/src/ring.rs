//! The rings between this process and the kernel: one side writes, the other side reads
//! (Documentation/networking/af_xdp.rst).
#![expect(unsafe_code, reason = "memory shared with the kernel, in the layout that it states")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// The offsets of a ring's parts in its mapping (`struct xdp_ring_offset`).
pub(super) type Offsets = libc::xdp_ring_offset;

/// A ring of entries `T` in memory that is shared with the kernel.
#[derive(Debug)]
struct Shared<T> {
    area: NonNull<u8>,
    len: usize,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    mask: u32,
}

// SAFETY: the pointers lead into the mapping that this value owns. The ring is shared with the kernel by
// atomic operations.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T: Copy> Shared<T> {
    /// Maps the ring with `size` entries (a power of two) of the socket `fd`, at the page offset `page`.
    fn map(fd: BorrowedFd<'_>, offsets: &Offsets, page: i64, size: u32) -> io::Result<Self> {
        let len = offsets.desc as usize + size as usize * size_of::<T>();
        // SAFETY: this is a shared mapping of the socket's ring at an address that the kernel chooses.
        let area = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd.as_raw_fd(),
                page,
            )
        };
        if area == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let area: NonNull<u8> =
            NonNull::new(area.cast()).ok_or_else(|| io::Error::other("mmap returned null"))?;
        // SAFETY: the kernel states these offsets for this mapping, whose length covers them and all entries.
        // The kernel aligns its u32 fields and descriptors naturally.
        unsafe {
            let at = |offset: u64| area.add(offset as usize);
            Ok(Self {
                area,
                len,
                producer: at(offsets.producer).cast(),
                consumer: at(offsets.consumer).cast(),
                flags: at(offsets.flags).cast(),
                entries: at(offsets.desc).cast(),
                mask: size - 1,
            })
        }
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: the pointer leads into the mapping, which lives as long as `self`. The kernel also accesses
        // the field atomically.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.consumer.as_ref() }
    }

    fn needs_wakeup(&self) -> bool {
        // SAFETY: as above.
        let flags = unsafe { self.flags.as_ref() };
        flags.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    fn read(&self, index: u32) -> T {
        // SAFETY: the mask keeps the index inside the ring. The caller owns this slot at this time (see
        // `Consumer`).
        unsafe { self.entries.add((index & self.mask) as usize).read() }
    }

    fn write(&mut self, index: u32, entry: T) {
        // SAFETY: as in `read`, with `Producer` as the caller.
        unsafe { self.entries.add((index & self.mask) as usize).write(entry) }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `map` has made, and nothing refers to it any more.
        unsafe { libc::munmap(self.area.as_ptr().cast(), self.len) };
    }
}

/// This process's side of a ring that it fills (fill ring, TX ring).
#[derive(Debug)]
pub(super) struct Producer<T> {
    shared: Shared<T>,
    /// The next slot to write. The kernel sees it at `submit`.
    next: u32,
    /// The kernel's position at the last look.
    consumed: u32,
}

impl<T: Copy> Producer<T> {
    /// Maps the ring: see [`Consumer::map`].
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn map(fd: BorrowedFd<'_>, offsets: &Offsets, page: i64, size: u32) -> io::Result<Self> {
        Ok(Self { shared: Shared::map(fd, offsets, page, size)?, next: 0, consumed: 0 })
    }

    /// Writes an entry. The kernel sees it after [`Self::submit`]. If the ring is full, `Err` returns the
    /// entry.
    pub(super) fn push(&mut self, entry: T) -> Result<(), T> {
        if self.next.wrapping_sub(self.consumed) > self.shared.mask {
            // Acquire: the kernel has read the slot before it moved its position.
            self.consumed = self.shared.consumer().load(Ordering::Acquire);
            if self.next.wrapping_sub(self.consumed) > self.shared.mask {
                return Err(entry);
            }
        }
        self.shared.write(self.next, entry);
        self.next = self.next.wrapping_add(1);
        Ok(())
    }

    /// Makes all pushed entries visible to the kernel.
    pub(super) fn submit(&mut self) {
        // Release: the entries are written before the kernel sees the new position.
        self.shared.producer().store(self.next, Ordering::Release);
    }

    /// Number of entries that the kernel has not taken yet, submitted or not.
    pub(super) fn pending(&mut self) -> u32 {
        self.consumed = self.shared.consumer().load(Ordering::Acquire);
        self.next.wrapping_sub(self.consumed)
    }

    /// Whether the kernel needs a system call before it looks at the ring.
    pub(super) fn needs_wakeup(&self) -> bool {
        self.shared.needs_wakeup()
    }
}

#[cfg(any(test, fuzzing))]
impl<T: Copy> Producer<T> {
    /// Returns what was pushed and not yet popped by the other side of the same ring, oldest first. Only a
    /// test that plays both sides can call it.
    pub(super) fn waiting(&self, other: &Consumer<T>) -> Vec<T> {
        let count = self.next.wrapping_sub(other.next);
        (0..count).map(|offset| self.shared.read(other.next.wrapping_add(offset))).collect()
    }
}

/// This process's side of a ring that the kernel fills (RX ring, completion ring).
#[derive(Debug)]
pub(super) struct Consumer<T> {
    shared: Shared<T>,
    next: u32,
}

impl<T: Copy> Consumer<T> {
    /// Maps the ring with `size` entries of the socket `fd`, at the page offset that the kernel defines for
    /// this kind of ring.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn map(fd: BorrowedFd<'_>, offsets: &Offsets, page: i64, size: u32) -> io::Result<Self> {
        Ok(Self { shared: Shared::map(fd, offsets, page, size)?, next: 0 })
    }

    /// Returns the next entry; `None` if the ring is empty. The kernel gets the slot back at
    /// [`Self::release`].
    pub(super) fn pop(&mut self) -> Option<T> {
        // Acquire: the entry was written before the position moved.
        if self.shared.producer().load(Ordering::Acquire) == self.next {
            return None;
        }
        let entry = self.shared.read(self.next);
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Gives all popped slots back to the kernel.
    pub(super) fn release(&mut self) {
        // Release: this process has read the slots before the kernel may write to them again.
        self.shared.consumer().store(self.next, Ordering::Release);
    }

    /// Whether there is nothing to pop.
    pub(super) fn is_empty(&self) -> bool {
        self.shared.producer().load(Ordering::Acquire) == self.next
    }
}
