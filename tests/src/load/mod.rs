//! The load generator: all machines of a network in one process, over an AF_XDP socket of its own.
//!
//! | file | noun |
//! |---|---|
//! | [`machine`] | one simulated machine's transfer, with the manners of real firmware |
//! | [`fleet`] | all of them over one socket |
//! | [`report`] | what came out |

pub mod fleet;
pub mod machine;
pub mod report;
