//! TFTP: RFC 1350 with the options of RFC 2347, 2348, 2349 and 7440. A duplicate ACK never triggers DATA
//! (RFC 1123, section 4.2.3.1).
//!
//! This module is pure: each method that depends on time takes `now`, and nothing here may use a socket, a
//! clock or a metric. The worker's TFTP service calls it and carries out the [`SessionAction`](send_session::SessionAction)s
//! that it returns.
//!
//! | file | contents |
//! |---|---|
//! | [`packet`] | parses and writes packets |
//! | [`negotiation`] | which options a transfer gets |
//! | [`send_session`] | the state machine of a transfer to a client |
//! | [`receive_session`] | the state machine of an upload from a client |
//! | [`session`] | a session in either direction |
//! | [`table`] | all sessions of one worker, found by their TIDs |
//! | [`pending`] | requests that wait for a slot |
//! | `timers` | a heap with one timer for each slot |

pub mod negotiation;
pub mod packet;
pub mod pending;
pub mod receive_session;
pub mod send_session;
pub mod session;
pub mod table;
mod timers;

use std::ops::Add;

/// The number of a block in a file, without wrapping. The first block is 1; block 0 stands for the OACK,
/// which ACK 0 acknowledges.
///
/// A packet holds the lower 16 bits. They wrap from 65535 to 0, as all clients expect that accept large
/// files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block(pub u64);

impl Block {
    /// Returns the 16-bit number in a packet.
    #[inline]
    pub fn wire(self) -> u16 {
        u16::try_from(self.0 & 0xffff).unwrap_or_default()
    }

    /// Returns the first block from `self` on whose 16-bit number is `wire`.
    pub fn at_or_after(self, wire: u16) -> Self {
        Self(self.0 + u64::from(wire.wrapping_sub(self.wire())))
    }

    /// Returns the offset of the block in its file, in bytes. 0 for block 0.
    #[inline]
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
