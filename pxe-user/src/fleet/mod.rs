//! The machines: which one was told what, and what became of it.
//!
//! | file | noun |
//! |---|---|
//! | [`event`] | what a worker reports |
//! | [`habits`] | what was learnt of a machine's firmware |
//! | [`limit`] | a bound for lines that strangers cause |
//! | [`journal`] | the machines as events tell of them, and one log line for each step |
//! | [`board`] | what people and programs are shown: the JSON of the API |
//! | [`report`] | what a memory test posts over the network |
//! | [`handle`] | the way to the fleet's thread for all others |

pub mod board;
pub mod event;
pub mod habits;
pub mod handle;
pub mod journal;
pub mod limit;
pub mod report;
