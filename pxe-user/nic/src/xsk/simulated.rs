//! A simulated kernel that a script controls, behind the real rings and the real memory. Whatever the script
//! does, in whatever order, no frame is lost or duplicated, and each frame arrives as it was sent.
//!
//! The rings lie in a memfd, at the offsets of a real socket. The kernel's side of each ring is the same code
//! with the roles exchanged.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::MemfdFlags;

use super::{Copying, Rx, Sizes, Tx, Xsk, page};
use crate::ring::{Consumer, Offsets, Producer};
use crate::umem::{Chunk, HEADROOM, Umem};

/// Small rings are often full and often empty, and their positions wrap around often.
const SIZES: Sizes = Sizes { rx: 4, tx: 4, chunk: 2048 };
/// Offsets of a ring's parts in its pages. Each part is in its own cache line, as in the kernel.
const OFFSETS: Offsets = Offsets { producer: 0, consumer: 64, flags: 128, desc: 192 };
/// Largest frame in this test, in bytes: enough to tell frames apart.
const FRAME_MAX: usize = 64;

/// The kernel's ends of the rings, and the chunks that the kernel has.
struct Kernel {
    fill: Consumer<u64>,
    rx: Producer<libc::xdp_desc>,
    tx: Consumer<libc::xdp_desc>,
    completion: Producer<u64>,
    /// Empty chunks, into which the kernel can receive.
    empty: Vec<Chunk>,
    /// Chunks of sent frames, not yet in the completion ring.
    sent: Vec<Chunk>,
    /// Whether the kernel has shown received frames, but not yet that their chunks have left the fill ring:
    /// see [`Sizes::fill_ring`].
    flushing: bool,
}

impl Kernel {
    /// Takes a chunk to receive into. This ends a flush that has begun.
    fn take_empty(&mut self, umem: &Umem) {
        self.end_flush();
        let address = self.fill.pop();
        self.empty.extend(address.map(|address| umem.kernel_chunk(address)));
    }

    /// Shows the received frames to the daemon.
    fn begin_flush(&mut self) {
        self.end_flush();
        self.rx.submit();
        self.flushing = true;
    }

    fn end_flush(&mut self) {
        if self.flushing {
            self.fill.release();
            self.flushing = false;
        }
    }

    /// Returns a chunk whose frame was sent, in any order.
    fn complete(&mut self, which: u8) {
        if self.sent.is_empty() {
            return;
        }
        let chunk = self.sent.swap_remove(usize::from(which) % self.sent.len());
        assert!(
            self.completion.push(chunk.address()).is_ok(),
            "the completion ring has a place for each chunk"
        );
        self.completion.submit();
    }
}

/// Both sides of the rings, and the frames that are expected.
struct Wire {
    kernel: Kernel,
    rx: Rx,
    tx: Tx,
    /// Frames that were received and not yet drained, oldest first.
    arriving: VecDeque<Vec<u8>>,
    /// Frames that were pushed and that the kernel has not yet taken, oldest first.
    leaving: VecDeque<Vec<u8>>,
    /// Number of frames so far, modulo 256. It makes each frame different.
    count: u8,
}

/// Runs a script: one byte for each step, and one more byte if the step needs a number. At the end all frames
/// are delivered.
///
/// # Panics
/// If a frame is lost, duplicated or damaged.
///
/// # Errors
/// The system's error, when there is no memory.
pub fn play(script: &[u8]) -> io::Result<()> {
    let mut wire = Wire::new()?;
    let mut script = script.iter().copied();
    while let Some(step) = script.next() {
        let mut argument = || script.next().unwrap_or_default();
        match step % 10 {
            0 => wire.kernel.take_empty(&wire.rx.socket.umem),
            1 => wire.receive(argument()),
            2 => wire.kernel.begin_flush(),
            3 => wire.kernel.end_flush(),
            4 => wire.drain(argument().into()),
            5 => wire.push(argument()),
            6 => wire.tx.flush(),
            7 => wire.take_frame(),
            8 => wire.kernel.tx.release(),
            _ => wire.kernel.complete(argument()),
        }
        wire.check();
    }
    wire.settle();
    Ok(())
}

impl Wire {
    fn new() -> io::Result<Self> {
        let memory: OwnedFd = rustix::fs::memfd_create("pxed-rings", MemfdFlags::CLOEXEC)?;
        // The rings' offsets are gigabytes apart. The file is sparse, so the space between them takes no
        // memory.
        rustix::fs::ftruncate(&memory, libc::XDP_UMEM_PGOFF_COMPLETION_RING + (1 << 20))?;
        let (fd, tx_page) = (memory.as_fd(), libc::XDP_PGOFF_TX_RING);
        let kernel = Kernel {
            fill: Consumer::map(fd, &OFFSETS, page(libc::XDP_UMEM_PGOFF_FILL_RING), SIZES.fill_ring())?,
            rx: Producer::map(fd, &OFFSETS, libc::XDP_PGOFF_RX_RING, SIZES.rx)?,
            tx: Consumer::map(fd, &OFFSETS, tx_page, SIZES.tx)?,
            completion: Producer::map(fd, &OFFSETS, page(libc::XDP_UMEM_PGOFF_COMPLETION_RING), SIZES.tx)?,
            empty: Vec::new(),
            sent: Vec::new(),
            flushing: false,
        };
        let offsets = libc::xdp_mmap_offsets { rx: OFFSETS, tx: OFFSETS, fr: OFFSETS, cr: OFFSETS };
        let (umem, chunks) = Umem::new(SIZES.rx + SIZES.tx, SIZES.chunk)?;
        let Xsk { rx, tx, .. } = Xsk::over(memory, &offsets, umem, chunks, SIZES, Copying::Copy)?;
        Ok(Self { kernel, rx, tx, arriving: VecDeque::new(), leaving: VecDeque::new(), count: 0 })
    }

    /// Returns a frame that differs from those before it, of at least one byte.
    fn frame(&mut self, len: u8) -> Vec<u8> {
        self.count = self.count.wrapping_add(1);
        vec![self.count; usize::from(len) % FRAME_MAX + 1]
    }

    /// The kernel receives a frame, if it has an empty chunk. The daemon sees the frame when the ring is
    /// submitted.
    fn receive(&mut self, len: u8) {
        let Some(mut chunk) = self.kernel.empty.pop() else { return };
        let frame = self.frame(len);
        let at = HEADROOM as usize;
        self.rx.socket.umem.chunk_mut(&mut chunk)[at..at + frame.len()].copy_from_slice(&frame);
        let addr = chunk.address() + u64::from(HEADROOM);
        let pushed = self.kernel.rx.push(libc::xdp_desc { addr, len: frame.len() as u32, options: 0 });
        assert!(pushed.is_ok(), "the RX ring has a place for each chunk");
        self.arriving.push_back(frame);
    }

    /// The daemon reads frames: the next ones, in their order, each whole.
    fn drain(&mut self, most: usize) {
        let Self { rx, arriving, .. } = self;
        let mut seen = 0;
        let count = rx.drain(most, |frame| {
            assert_eq!(arriving.pop_front().as_deref(), Some(frame), "not the frame that was received next");
            seen += 1;
        });
        assert!(count == seen && count <= most);
    }

    /// The daemon sends a frame, or finds no chunk. If `len` is 255, it writes no frame after it has got a
    /// chunk.
    fn push(&mut self, len: u8) {
        let frame = if len == u8::MAX { Vec::new() } else { self.frame(len) };
        let pushed = self.tx.push(|chunk| {
            chunk[..frame.len()].copy_from_slice(&frame);
            frame.len()
        });
        if pushed {
            assert!(!frame.is_empty(), "an empty frame was sent");
            self.leaving.push_back(frame);
        } else if !frame.is_empty() {
            // The daemon has just looked for returned chunks. The kernel may return a chunk before it shows
            // that it has taken the chunk's descriptor.
            let came_back = self.kernel.completion.waiting(&self.tx.completion);
            let is_full = self.tx.ring.pending() >= SIZES.tx;
            assert!(is_full || (came_back.is_empty() && self.tx.free.is_empty()), "a chunk was free");
        }
    }

    /// The kernel sends the next frame that it can see.
    fn take_frame(&mut self) {
        let Some(descriptor) = self.kernel.tx.pop() else { return };
        let umem = &self.tx.socket.umem;
        let chunk = umem.kernel_chunk(descriptor.addr);
        let bytes = umem.bytes(&chunk, descriptor.addr, descriptor.len);
        assert_eq!(bytes, self.leaving.pop_front().as_deref(), "not the frame that was sent next");
        self.kernel.sent.push(chunk);
    }

    /// Checks that each chunk is in exactly one place.
    fn check(&mut self) {
        let kernel = &mut self.kernel;
        // An entry that the kernel has popped and not yet released is still in the ring, but the kernel has
        // its chunk.
        let held: Vec<u64> = kernel.empty.iter().chain(&kernel.sent).map(Chunk::address).collect();
        let free = self.tx.free.iter().map(Chunk::address);
        let mut places: BTreeSet<u64> = BTreeSet::new();
        for address in held.into_iter().chain(free) {
            assert!(places.insert(address), "a chunk in two places");
        }
        let filling = self.rx.fill.waiting(&kernel.fill);
        let received = kernel.rx.waiting(&self.rx.ring).into_iter().map(|descriptor| descriptor.addr);
        let sending = self.tx.ring.waiting(&kernel.tx).into_iter().map(|descriptor| descriptor.addr);
        let completed = kernel.completion.waiting(&self.tx.completion);
        for address in filling.into_iter().chain(received).chain(sending).chain(completed) {
            assert!(places.insert(address & !u64::from(SIZES.chunk - 1)), "a chunk in two places");
        }
        let all = (0..SIZES.rx + SIZES.tx).map(|index| u64::from(index) * u64::from(SIZES.chunk));
        assert!(places.into_iter().eq(all), "frames in = frames out + frames free");
    }

    /// The kernel finishes all its work and the daemon reads all frames. Then all chunks are where they were
    /// at the start.
    fn settle(&mut self) {
        self.kernel.begin_flush();
        self.kernel.end_flush();
        self.drain(usize::MAX);
        self.tx.flush();
        while !self.kernel.tx.is_empty() {
            self.take_frame();
        }
        self.kernel.tx.release();
        while !self.kernel.sent.is_empty() {
            self.kernel.complete(0);
        }
        self.tx.flush();
        self.check();
        assert!(self.arriving.is_empty() && self.leaving.is_empty(), "frames that nobody has seen");
        assert_eq!(self.tx.free.len(), SIZES.tx as usize, "chunks for sending");
        let filled = self.rx.fill.waiting(&self.kernel.fill).len() + self.kernel.empty.len();
        assert_eq!(filled, SIZES.rx as usize, "chunks for receiving");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Both rings wrap around several times, with one frame after the other and with many at once.
    #[test]
    fn frames_go_in_and_out() {
        let one_by_one = [0, 1, 9, 2, 4, 255, 3, 5, 30, 6, 7, 8, 9, 0].repeat(20);
        play(&one_by_one).unwrap();
        let all_at_once = [
            [0, 0, 0, 0, 1, 1, 1, 2, 1, 3, 1, 4, 2, 4, 255].as_slice(),
            &[5, 1, 5, 2, 5, 3, 5, 4, 5, 5, 6, 7, 7, 7, 7, 9, 1, 9, 1, 5, 6, 8, 9, 0, 9, 0, 6],
        ];
        play(&all_at_once.concat().repeat(20)).unwrap();
    }

    /// A driver returns chunks twice, or chunks that it never had. No chunk is in two places afterwards, and
    /// later frames still pass.
    #[test]
    fn what_is_not_the_kernels_to_give_is_refused() {
        let mut wire = Wire::new().unwrap();
        wire.push(3);
        wire.tx.flush();
        wire.take_frame();
        wire.kernel.tx.release();
        let sent = wire.kernel.sent[0].address();
        wire.kernel.complete(0);
        wire.tx.flush();
        wire.check();
        let outside = u64::from(SIZES.rx + SIZES.tx) * u64::from(SIZES.chunk);
        for address in [sent, outside, u64::MAX] {
            assert!(wire.kernel.completion.push(address).is_ok());
            wire.kernel.completion.submit();
            wire.tx.flush();
            wire.check();
        }
        for address in [sent + u64::from(HEADROOM), outside] {
            assert!(wire.kernel.rx.push(libc::xdp_desc { addr: address, len: 10, options: 0 }).is_ok());
            wire.kernel.rx.submit();
            assert_eq!(wire.rx.drain(usize::MAX, |frame| panic!("a frame of nobody's: {frame:?}")), 1);
            wire.check();
        }
        assert_eq!(wire.rx.statistics().refused, 5);
        wire.push(4);
        wire.kernel.take_empty(&wire.rx.socket.umem);
        wire.receive(5);
        wire.settle();
    }

    proptest! {
        #[test]
        fn whatever_the_kernel_does_no_frame_is_lost(script in prop::collection::vec(any::<u8>(), 0..400)) {
            play(&script).unwrap();
        }
    }
}
