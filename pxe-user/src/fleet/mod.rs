//! The machines: which one was told what, and what became of it.
//!
//! | file | noun |
//! |---|---|
//! | [`event`] | what a worker reports |
//! | [`habits`] | what was learnt of a machine's firmware |
//! | [`limit`] | a bound for lines that strangers cause |
//! | [`journal`] | the machines as events tell of them, and one log line for each step |

pub mod event;
pub mod habits;
pub mod journal;
pub mod limit;
