//! TFTP: RFC 1350 with the options of RFC 2347, 2348, 2349 and 7440, and RFC 1123's ban on answering duplicates.
//!
//! Pure: `now` is an argument; nothing here knows a socket, a clock or a metric.
//!
//! | file | noun |
//! |---|---|
//! | [`packet`] | what is on the wire |
//! | [`negotiated`] | what is granted of what was asked |
//! | [`transfer`] | one transfer's state machine |
//! | [`reception`] | the same in the other direction |
//! | [`session`] | either of them |
//! | [`table`] | all transfers, known by their TIDs |
//! | [`waiting`] | requests that wait for a slot |
//! | `timers` | one timer for each of them |

pub mod negotiation;
pub mod packet;
pub mod pending;
pub mod receive_session;
pub mod send_session;
pub mod session;
pub mod table;
mod timers;

use std::ops::Add;

/// A block of a file by its true number, from 1 on. Block 0 is what the ACK of an OACK acknowledges.
///
/// On the wire there are 16 bits, which wrap from 65535 to 0 as all clients expect that take large files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block(pub u64);

impl Block {
    /// The number as it stands in a packet.
    pub fn wire(self) -> u16 {
        u16::try_from(self.0 & 0xffff).unwrap_or_default()
    }

    /// The block closest above or equal to `self` whose wire number is `wire`.
    pub fn at_or_after(self, wire: u16) -> Self {
        Self(self.0 + u64::from(wire.wrapping_sub(self.wire())))
    }

    /// Where the block starts in its file, in bytes.
    pub fn offset(self, blksize: u16) -> u64 {
        self.0.saturating_sub(1) * u64::from(blksize)
    }
}

impl Add<u64> for Block {
    type Output = Self;

    fn add(self, blocks: u64) -> Self {
        Self(self.0 + blocks)
    }
}
