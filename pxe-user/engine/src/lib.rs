//! The responder and its workers. This crate joins protocol, network, content and fleet.
//!
//! | module | contents |
//! |---|---|
//! | [`responder`] | takes a datagram, and sends datagrams through its host; pure, without I/O |
//! | [`worker`] | one thread for each receive queue, in which datapath, responder and clock meet |
//! | [`plan`] | chooses the datapath of each interface |
//! | [`segment`] | which responder of a segment owns which machines; pure |
//! | [`counters`] | a counter for every outcome |
//! | [`gauges`] | the daemon's present state, for metrics and the board |
//! | [`heartbeat`] | detects threads that hang |
//! | [`clock`] | the daemon's monotonic clock |

pub mod clock;
pub mod counters;
pub mod gauges;
pub mod heartbeat;
pub mod plan;
pub mod responder;
pub mod segment;
mod sync;
pub mod worker;
