//! The machines: which one was told what, and what became of it.
//!
//! | file | noun |
//! |---|---|
//! | [`event`] | what a worker reports |
//! | [`habits`] | what was learnt of a machine's firmware |
//! | [`limit`] | a bound for lines that strangers cause |
//! | [`journal`] | the machines as events tell of them, and one log line for each step |
//! | [`board`] | what people and programs are shown: the JSON of the API |
//! | [`card`] | a machine as it is shown, shared by all who look |
//! | [`report`] | what a memory test posts over the network |
//! | [`handle`] | the way to the fleet's thread for all others |
//! | [`nonce`] | what ties a report to a boot |
//! | [`claim`] | who hands something in, and why that is not believed |
//! | [`mtlog`] | memtest86+'s lines on a serial console |
//! | [`smbios`] | memory modules from a machine's own tables |
//! | `machine`, `registry` | the state machine of one machine, and all of them; pure |
//! | `changes` | what has changed since it was last shown |
//! | `store` | SQLite, and the file of events; a thread of its own |
//! | [`thread`] | the fleet's thread: the only one that reads the wall clock |

pub mod board;
mod changes;
pub mod claim;
pub mod encoded_machine;
pub mod event;
pub mod firmware_quirks;
pub mod handle;
pub mod journal;
pub mod log_limiter;
mod machine;
pub mod mtlog;
mod registry;
pub mod report;
pub mod smbios;
mod store;
mod text;
pub mod thread;
