//! The responder and its workers: where protocol, network, content and fleet meet.
//!
//! | module | what |
//! |---|---|
//! | [`responder`] | datagram in, datagrams out; pure |
//! | [`worker`] | one thread for each receive queue: the only place where datapath, responder and clock meet |
//! | [`plan`] | which datapath on which interface, and why |
//! | [`tally`] | every outcome is a counter |
//! | [`gauges`] | what the daemon shows of itself |
//! | [`pulse`] | signs of life of the daemon's threads |
//! | [`clock`] | the daemon's monotonic clock |

pub mod clock;
pub mod gauges;
pub mod plan;
pub mod pulse;
pub mod responder;
mod sync;
pub mod tally;
pub mod worker;
