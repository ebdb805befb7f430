//! An AF_XDP socket: a receiving half and a sending half, each with its own chunks.
//!
//! A chunk is always in exactly one place: with this process (in the free list, or in use), in a ring, or
//! with the kernel. The halves share only the memory, so this process can write a reply while it reads the
//! request.
#![expect(unsafe_code, reason = "wake-up calls and statistics of AF_XDP, for which no safe wrapper exists")]

#[cfg(any(test, fuzzing))]
pub mod simulated;
mod sizes;
mod system;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::Queue;
use super::programs::Mode;
use super::ring::{Consumer, Producer};
use super::umem::{Chunk, Umem};
pub use sizes::Sizes;
use system::{bind, get_option, offsets, register, set_option, socket};

/// `XDP_MAX_TX_SKB_BUDGET` (Linux 6.17): how many descriptors one system call sends in copy mode. Without it
/// the number is 32.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
/// Largest number of system calls in one flush. They may all find the device busy; the rest then waits for
/// the next flush.
const KICKS_MAX: u32 = 1024;

/// How frames get into the socket's memory and out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copying {
    /// The network card reads and writes the socket's memory itself.
    ZeroCopy,
    /// The kernel copies the frames.
    Copy,
}

impl Copying {
    /// Returns the name for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ZeroCopy => "zero-copy",
            Self::Copy => "copy",
        }
    }
}

/// Why an AF_XDP socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum XskError {
    /// The kernel has no AF_XDP, or this process may not use it.
    #[error("no AF_XDP socket (it needs CONFIG_XDP_SOCKETS and CAP_NET_RAW, or root): {0}")]
    Socket(io::Error),
    /// A step of the socket's set-up failed.
    #[error("setting up an AF_XDP socket failed at {step}: {reason}{}", lock_hint(.reason))]
    Setup {
        /// The step that failed.
        step: &'static str,
        /// The system's error. It is not a `source`, because the message contains it already.
        reason: io::Error,
    },
    /// The socket could not be bound to its queue.
    #[error("cannot bind an AF_XDP socket to queue {}: {reason}{}", .queue.0, busy_hint(.reason))]
    Bind {
        /// The queue.
        queue: Queue,
        /// The system's error. It is not a `source`, because the message contains it already.
        reason: io::Error,
    },
}

impl XskError {
    /// Whether another socket has the queue, or had it a moment ago.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Bind { reason, .. } if reason.raw_os_error() == Some(libc::EBUSY))
    }
}

fn busy_hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EBUSY) => " (another program has an AF_XDP socket there)",
        _ => "",
    }
}

/// The memory of the sockets is locked. The kernel returns ENOBUFS if the limit of locked memory is too low
/// (`xdp_umem_account_pages`).
fn lock_hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOBUFS) => {
            " (more locked memory than this user may have: raise `ulimit -l`, which is LimitMEMLOCK= in a unit, or give CAP_IPC_LOCK)"
        }
        _ => "",
    }
}

/// Both halves of a socket that is bound to one queue.
#[derive(Debug)]
pub struct Xsk {
    /// The receiving half.
    pub rx: Rx,
    /// The sending half.
    pub tx: Tx,
    /// How frames get into the socket's memory and out of it.
    pub copying: Copying,
}

impl Xsk {
    /// Opens a socket on a queue. It is in zero-copy mode if the driver supports that and the program runs in
    /// native mode, else in copy mode.
    ///
    /// # Errors
    /// [`XskError`].
    pub fn open(interface: u32, queue: Queue, mode: Mode, sizes: Sizes) -> Result<Self, XskError> {
        if mode == Mode::Native
            && let Ok(xsk) = Self::open_with(interface, queue, sizes, Copying::ZeroCopy)
        {
            return Ok(xsk);
        }
        Self::open_with(interface, queue, sizes, Copying::Copy)
    }

    fn open_with(interface: u32, queue: Queue, sizes: Sizes, copying: Copying) -> Result<Self, XskError> {
        let fd = socket().map_err(XskError::Socket)?;
        let (umem, chunks) = Umem::new(sizes.rx + sizes.tx, sizes.chunk).map_err(setup("UMEM"))?;
        register(fd.as_fd(), &umem).map_err(setup("XDP_UMEM_REG"))?;
        for (option, name, size) in [
            (libc::XDP_UMEM_FILL_RING, "XDP_UMEM_FILL_RING", sizes.fill_ring()),
            (libc::XDP_UMEM_COMPLETION_RING, "XDP_UMEM_COMPLETION_RING", sizes.tx),
            (libc::XDP_RX_RING, "XDP_RX_RING", sizes.rx),
            (libc::XDP_TX_RING, "XDP_TX_RING", sizes.tx),
        ] {
            set_option(fd.as_fd(), option, &size).map_err(setup(name))?;
        }
        let offsets = offsets(fd.as_fd()).map_err(setup("XDP_MMAP_OFFSETS"))?;
        // Older kernels do not have this option, and it is not required: without it one call sends 32
        // descriptors.
        let _ = set_option(fd.as_fd(), XDP_MAX_TX_SKB_BUDGET, &sizes.tx);
        let xsk =
            Self::over(fd, &offsets, umem, chunks, sizes, copying).map_err(setup("mapping the rings"))?;
        bind(xsk.as_fd(), interface, queue, copying).map_err(|reason| XskError::Bind { queue, reason })?;
        Ok(xsk)
    }

    /// Makes both halves from rings that lie in `fd` at `offsets`, with all chunks of the memory.
    fn over(
        fd: OwnedFd,
        offsets: &libc::xdp_mmap_offsets,
        umem: Umem,
        mut chunks: Vec<Chunk>,
        sizes: Sizes,
        copying: Copying,
    ) -> io::Result<Self> {
        let at = fd.as_fd();
        let fill = Producer::map(at, &offsets.fr, page(libc::XDP_UMEM_PGOFF_FILL_RING), sizes.fill_ring())?;
        let completion =
            Consumer::map(at, &offsets.cr, page(libc::XDP_UMEM_PGOFF_COMPLETION_RING), sizes.tx)?;
        let rx = Consumer::map(at, &offsets.rx, libc::XDP_PGOFF_RX_RING, sizes.rx)?;
        let tx = Producer::map(at, &offsets.tx, libc::XDP_PGOFF_TX_RING, sizes.tx)?;
        let socket = Arc::new(Socket { fd, umem });
        let free = chunks.split_off(sizes.rx as usize);
        let mut rx = Rx { fill, ring: rx, socket: Arc::clone(&socket) };
        chunks.into_iter().for_each(|chunk| rx.give(chunk));
        rx.fill.submit();
        Ok(Self { rx, tx: Tx { ring: tx, completion, free, unsubmitted: false, socket }, copying })
    }
}

/// Converts a page offset, which is unsigned in the header and signed for mmap. All of them fit.
fn page(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

impl AsRawFd for Xsk {
    fn as_raw_fd(&self) -> RawFd {
        self.rx.socket.fd.as_raw_fd()
    }
}

impl AsFd for Xsk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.rx.socket.fd.as_fd()
    }
}

/// The descriptor and the memory that is registered with it. The kernel releases the memory when the
/// descriptor is closed.
#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    umem: Umem,
}

/// The receiving half.
#[derive(Debug)]
pub struct Rx {
    fill: Producer<u64>,
    ring: Consumer<libc::xdp_desc>,
    socket: Arc<Socket>,
}

impl Rx {
    /// Passes at most `most` received frames to `take`, and returns how many frames it took from the ring.
    pub fn drain(&mut self, most: usize, mut take: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < most
            && let Some(descriptor) = self.ring.pop()
        {
            count += 1;
            let Some(chunk) = self.socket.umem.reclaim(descriptor.addr) else { continue };
            if let Some(frame) = self.socket.umem.bytes(&chunk, descriptor.addr, descriptor.len) {
                take(frame);
            }
            self.give(chunk);
        }
        if count > 0 {
            self.ring.release();
            self.fill.submit();
            if self.fill.needs_wakeup() {
                self.wake();
            }
        }
        count
    }

    /// Whether no received frame waits in the ring.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Gives a chunk to the kernel. The fill ring has two entries for each chunk, so this cannot fail.
    fn give(&mut self, chunk: Chunk) {
        let given = self.fill.push(chunk.address());
        debug_assert!(given.is_ok(), "more chunks than the fill ring has places");
        self.socket.umem.mark_lent(chunk);
    }

    fn wake(&self) {
        // SAFETY: the call gets no buffer. It only makes the driver look at the fill ring.
        unsafe {
            libc::recvfrom(
                self.socket.fd.as_raw_fd(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
    }

    /// Returns the counters of frames that the kernel dropped or refused. If the kernel does not return them,
    /// they are 0, except for `refused`.
    pub fn statistics(&self) -> Statistics {
        // SAFETY: all zeros is a valid value of this structure of integers.
        let mut raw: libc::xdp_statistics = unsafe { std::mem::zeroed() };
        let refused = self.socket.umem.refused();
        match get_option(self.socket.fd.as_fd(), libc::XDP_STATISTICS, &mut raw) {
            Ok(()) => Statistics {
                refused,
                rx_dropped: raw.rx_dropped,
                rx_ring_full: raw.rx_ring_full,
                fill_ring_empty: raw.rx_fill_ring_empty_descs,
                tx_invalid: raw.tx_invalid_descs,
            },
            Err(_) => Statistics { refused, ..Statistics::default() },
        }
    }
}

impl AsRawFd for Rx {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.fd.as_raw_fd()
    }
}

impl AsFd for Rx {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.fd.as_fd()
    }
}

/// Counters of an AF_XDP socket since it was opened (`struct xdp_statistics`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames dropped for other reasons than a full RX ring.
    pub rx_dropped: u64,
    /// Frames dropped because the RX ring was full.
    pub rx_ring_full: u64,
    /// How often the kernel found no chunk in the fill ring.
    pub fill_ring_empty: u64,
    /// Descriptors that the kernel refused to send.
    pub tx_invalid: u64,
    /// How often the driver used or returned a chunk that it did not have. Each is a bug in the driver.
    pub refused: u64,
}

/// The sending half.
#[derive(Debug)]
pub struct Tx {
    ring: Producer<libc::xdp_desc>,
    completion: Consumer<u64>,
    free: Vec<Chunk>,
    unsubmitted: bool,
    socket: Arc<Socket>,
}

impl Tx {
    /// Queues one frame. `write` writes it into a chunk and returns its length in bytes. Returns false if all
    /// chunks are in use, or if the length is 0. If all chunks are in use, call [`Self::flush`] and try again
    /// later.
    pub fn push(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        if self.free.is_empty() {
            self.flush();
        }
        let Some(mut chunk) = self.free.pop() else { return false };
        let len = write(self.socket.umem.chunk_mut(&mut chunk));
        let len = u32::try_from(len).unwrap_or(0).min(self.socket.umem.chunk_len());
        let descriptor = libc::xdp_desc { addr: chunk.address(), len, options: 0 };
        if len == 0 || self.ring.push(descriptor).is_err() {
            self.free.push(chunk);
            return false;
        }
        self.socket.umem.mark_lent(chunk);
        self.unsubmitted = true;
        true
    }

    /// Sends the queued frames, and takes back the chunks of frames that were sent.
    pub fn flush(&mut self) {
        if self.unsubmitted {
            self.ring.submit();
            self.unsubmitted = false;
        }
        // In copy mode each call sends a limited number of frames, and returns EAGAIN if there are more.
        let mut kicks = 0;
        while self.ring.pending() > 0 && self.ring.needs_wakeup() && kicks < KICKS_MAX {
            kicks += 1;
            if self.kick().is_err_and(|error| !is_busy(&error)) {
                break;
            }
            self.reclaim();
        }
        self.reclaim();
    }

    /// Whether frames are queued that the kernel has not taken yet.
    pub fn has_pending(&mut self) -> bool {
        self.ring.pending() > 0
    }

    fn reclaim(&mut self) {
        let mut any = false;
        while let Some(address) = self.completion.pop() {
            any = true;
            self.free.extend(self.socket.umem.reclaim(address));
        }
        if any {
            self.completion.release();
        }
    }

    fn kick(&self) -> io::Result<()> {
        // SAFETY: the call gets no buffer. It makes the driver look at the TX ring.
        let sent = unsafe {
            libc::sendto(
                self.socket.fd.as_raw_fd(),
                std::ptr::null(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null(),
                0,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn is_busy(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS))
}

fn setup(step: &'static str) -> impl Fn(io::Error) -> XskError {
    move |reason| XskError::Setup { step, reason }
}
