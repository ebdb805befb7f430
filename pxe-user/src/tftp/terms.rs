//! What is granted of what a request asks for.

use super::packet::{Asked, Granted};

/// What an interface and the administrator allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest block, in bytes, whose datagram the path carries in one piece. Many boot ROMs cannot put fragments
    /// together, so no reply is ever fragmented.
    pub blksize: u16,
    /// Most blocks in a window.
    pub windowsize: u16,
}

impl Limits {
    /// IPv4 and UDP headers and the four bytes in front of a block.
    const OVERHEAD: u16 = 20 + 8 + 4;

    /// Limits for a path with this MTU, in bytes.
    pub fn for_mtu(mtu: u16, windowsize: u16) -> Self {
        let largest = *super::packet::BLKSIZE_RANGE.end();
        Self {
            blksize: mtu.saturating_sub(Self::OVERHEAD).clamp(Terms::DEFAULT_BLKSIZE, largest),
            windowsize,
        }
    }
}

/// The terms of one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Bytes per block.
    pub blksize: u16,
    /// Blocks per window (RFC 7440).
    pub windowsize: u16,
    /// Seconds until the first retransmission, if the client asked for a time (RFC 2349).
    pub timeout: Option<u8>,
    /// Whether an OACK comes first.
    pub oack: bool,
    tsize: bool,
    asked_blksize: bool,
    asked_windowsize: bool,
}

impl Terms {
    /// Bytes per block without the option (RFC 1350, section 2).
    pub const DEFAULT_BLKSIZE: u16 = 512;

    /// Grants what was asked as far as the limits go: never more, and nothing that was not asked (RFC 2347).
    pub fn grant(asked: &Asked, limits: &Limits) -> Self {
        let oack = *asked != Asked::default();
        Self {
            blksize: asked.blksize.map_or(Self::DEFAULT_BLKSIZE, |wish| wish.min(limits.blksize)),
            windowsize: asked.windowsize.map_or(1, |wish| wish.min(limits.windowsize.max(1))),
            timeout: asked.timeout,
            oack,
            tsize: asked.tsize,
            asked_blksize: asked.blksize.is_some(),
            asked_windowsize: asked.windowsize.is_some(),
        }
    }

    /// The OACK's content for a file of `size` bytes.
    pub fn granted(&self, size: u64) -> Granted {
        Granted {
            blksize: self.asked_blksize.then_some(self.blksize),
            tsize: self.tsize.then_some(size),
            // RFC 2349: a server acknowledges exactly the value that was asked, or leaves the option out.
            timeout: self.timeout,
            windowsize: self.asked_windowsize.then_some(self.windowsize),
        }
    }
}
