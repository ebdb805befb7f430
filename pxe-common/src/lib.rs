//! What both sides of the kernel boundary must agree on: the wire [headers](wire), the one
//! [classifier](classify()), its [verdicts](Verdict), who can be a client ([`sender`]) and how often one may ask
//! ([`bucket`]), the plain-old-data of the BPF [maps](abi), and what the kernel answers by itself: when ([`steady`]) and
//! with which headers ([`reply`]).
//!
//! The crate is compiled twice: for the eBPF target, where [`classify()`] reads the packet through the
//! verifier's eyes, and for plain byte slices, where it is tested, property-checked and fuzzed.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod abi;
mod classify;
mod frame;
pub mod rate_limit;
pub mod reply;
pub mod source_filter;
pub mod steady;
mod verdict;
pub mod wire;

pub use classify::{MAX_OPTIONS, TransferPacket, classify, transfer_packet};
pub use frame::{Frame, SliceFrame};
pub use verdict::{COUNTERS, Drop, Layer, Pass, Service, Verdict};
