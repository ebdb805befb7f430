//! How large a socket's rings and chunks are.

use crate::umem::HEADROOM;

/// Sizes of a socket.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Chunks for receiving, a power of two: also the size of the RX ring, and half of the fill ring's.
    pub rx: u32,
    /// Chunks for sending, a power of two: also the size of the TX and completion rings.
    pub tx: u32,
    /// Bytes per chunk: 2048, or 4096 for larger frames.
    pub chunk: u32,
}

impl Sizes {
    /// Sizes for an interface with this MTU (bytes) and this many queues.
    pub fn for_interface(mtu: u32, queues: u32) -> Self {
        // Ethernet header and two tags on top of the MTU, the kernel's headroom in front.
        let chunk = if mtu + 22 + HEADROOM <= 2048 { 2048 } else { 4096 };
        // 16 MiB for one queue, 64 MiB for all of many: they share the load.
        let each = 1 << (16384 / queues.max(1)).clamp(256, 4096).ilog2();
        Self { rx: each, tx: each, chunk }
    }

    /// Places in the fill ring: two for each chunk.
    ///
    /// The kernel shows us received frames a moment before it shows that it has taken their chunks from the fill ring
    /// (`xsk_flush` in net/xdp/xsk.c): a chunk that is given back in that moment needs a place beside its old one.
    pub(super) fn fill_ring(&self) -> u32 {
        self.rx * 2
    }

    /// The largest frame that fits into a chunk, in bytes.
    pub fn largest_frame(&self) -> u32 {
        self.chunk - HEADROOM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_powers_of_two_and_many_queues_share_the_memory() {
        for queues in [0, 1, 3, 4, 7, 8, 16, 63, 64, 200] {
            let sizes = Sizes::for_interface(1500, queues);
            assert!(sizes.rx.is_power_of_two() && sizes.tx.is_power_of_two(), "{queues}: {sizes:?}");
            let bytes = u64::from(sizes.rx + sizes.tx) * u64::from(sizes.chunk) * u64::from(queues.min(64));
            assert!(bytes <= 64 << 20, "{queues}: {bytes}");
        }
        assert_eq!(Sizes::for_interface(1500, 1).rx, 4096);
    }

    #[test]
    fn a_chunk_holds_a_tagged_frame_of_the_interface() {
        assert_eq!(Sizes::for_interface(1500, 1).chunk, 2048);
        assert_eq!(Sizes::for_interface(1770, 1).chunk, 2048);
        assert_eq!(Sizes::for_interface(1771, 1).chunk, 4096);
    }
}
