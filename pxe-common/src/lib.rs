//! What the kernel programs and the daemon must agree on.
//!
//! - [`wire`]: offsets and numbers of the headers
//! - [`classify()`]: the classifier, and its [`Verdict`]s
//! - [`source_filter`]: which senders can be clients
//! - [`rate_limit`]: how often a source may send requests
//! - [`segment`]: which of several responders answers a machine
//! - [`abi`]: the plain-old-data in the BPF maps
//! - [`load`]: the maps of the load generator in the tests
//! - [`steady`] and [`reply`]: which ACKs the kernel answers by itself, and with which headers
//!
//! The crate is compiled twice: for the eBPF target, where the verifier checks each read of [`classify()`],
//! and for plain byte slices, where the code is tested, checked by properties, and fuzzed.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod abi;
mod classify;
mod frame;
pub mod load;
pub mod rate_limit;
pub mod reply;
pub mod segment;
pub mod source_filter;
pub mod steady;
mod verdict;
pub mod wire;

pub use classify::{MAX_OPTIONS, TransferPacket, classify, transfer_packet};
pub use frame::{Frame, SliceFrame};
pub use verdict::{COUNTERS, Drop, Layer, Pass, Service, Verdict};
