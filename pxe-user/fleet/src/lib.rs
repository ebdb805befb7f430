//! The fleet: all machines that pxed knows, what pxed offered to each, what each loaded, and what its memory
//! test reported.
//!
//! Workers report events through a [`handle`]. One thread ([`thread`]) owns all machines, writes the log, and
//! publishes a [`board`] for the web server and `pxed status`. A second thread (`store`) writes the history
//! to disk, because a disk may block. The modules `machine` and `registry` are pure: they take the time as an
//! argument, and do no I/O.
//!
//! | module | contents |
//! |---|---|
//! | [`event`] | what a worker reports |
//! | [`handle`] | how other threads send events and questions to the fleet, and read the board |
//! | [`thread`] | the fleet's thread: owns all machines, and reads the wall clock |
//! | `registry`, `machine` | all machines, and the state machine of one machine; pure |
//! | `changes` | what has changed since the board was last published |
//! | `store` | the ledger, and the file of events; threads of their own |
//! | [`move_ledger`] | copies a directory's ledger to a database that several responders share |
//! | [`board`] | the JSON types of the API |
//! | [`journal`] | log lines: one for each step of a boot |
//! | [`log_limiter`] | the rate limit for log lines and steps that strangers can cause |
//! | [`firmware_quirks`] | which offer style each machine's firmware needs |
//! | [`report`] | what a memory test posts over HTTP |
//! | [`claim`] | the proof that comes with a report or an upload, and the reasons to reject it |
//! | [`mtlog`] | memtest86+'s log lines on a serial console |
//! | [`smbios`] | memory modules from a machine's SMBIOS table |
//! | `text` | cleans text from the network |

mod absence;
pub mod board;
mod changes;
pub mod claim;
mod config;
pub mod event;
pub mod firmware_quirks;
pub mod handle;
pub mod journal;
pub mod log_limiter;
mod machine;
pub mod move_ledger;
pub mod mtlog;
mod registry;
pub mod report;
pub mod smbios;
mod store;
mod text;
pub mod thread;
