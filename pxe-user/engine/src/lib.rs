//! The responder and its workers: where protocol, network, content and fleet meet.
//!
//! | module | what |
//! |---|---|
//! | [`responder`] | datagram in, datagrams out; pure |
//! | [`worker`] | one thread for each receive queue: the only place where datapath, responder and clock meet |
//! | [`plan`] | which datapath on which interface, and why |
//! | [`counters`] | every outcome is a counter |
//! | [`gauges`] | what the daemon shows of itself |
//! | [`heartbeat`] | signs of life of the daemon's threads |
//! | [`clock`] | the daemon's monotonic clock |

pub mod clock;
pub mod counters;
pub mod gauges;
pub mod heartbeat;
pub mod plan;
pub mod responder;
mod sync;
pub mod worker;
