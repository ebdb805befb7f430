//! What both sides of the kernel boundary must agree on: the wire [headers](wire), the one
//! [classifier](classify()), its [verdicts](Verdict), and the plain-old-data of the BPF [maps](abi).
//!
//! The crate is compiled twice: for the eBPF target, where [`classify()`] reads the packet through the
//! verifier's eyes, and for plain byte slices, where it is tested, property-checked and fuzzed.
#![no_std]

pub mod abi;
mod classify;
mod frame;
mod verdict;
pub mod wire;

pub use classify::{MAX_OPTIONS, classify};
pub use frame::{Frame, SliceFrame};
pub use verdict::{COUNTERS, Drop, Pass, Service, Verdict};
