//! The sizes of a socket's rings and chunks.

use crate::umem::HEADROOM;

/// The sizes of an AF_XDP socket.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Number of chunks for receiving, a power of two. It is also the size of the RX ring, and half the size
    /// of the fill ring.
    pub rx: u32,
    /// Number of chunks for sending, a power of two. It is also the size of the TX ring and of the completion
    /// ring.
    pub tx: u32,
    /// Size of a chunk in bytes: 2048, or 4096 for larger frames.
    pub chunk: u32,
}

impl Sizes {
    /// Returns the sizes for an interface with this MTU (in bytes) and this number of queues.
    pub fn for_interface(mtu: u32, queues: u32) -> Self {
        // The Ethernet header and two VLAN tags add 22 bytes to the MTU. The kernel's headroom is in front of
        // the frame.
        let chunk = if mtu + 22 + HEADROOM <= 2048 { 2048 } else { 4096 };
        // One queue gets 16 MiB. Many queues get 64 MiB together, because they share the load.
        let each = 1 << (16384 / queues.max(1)).clamp(256, 4096).ilog2();
        Self { rx: each, tx: each, chunk }
    }

    /// Size of the fill ring: two entries for each chunk.
    ///
    /// The kernel shows a received frame a moment before it shows that it has taken the frame's chunk from
    /// the fill ring (`xsk_flush` in net/xdp/xsk.c). A chunk that this process returns in that moment needs
    /// an entry beside its old one.
    pub(super) fn fill_ring(&self) -> u32 {
        self.rx * 2
    }

    /// Returns the size of the largest frame that fits into a chunk, in bytes.
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
