//! The commands of `cargo xtask`, for what cargo cannot do. `main` parses the command line, and calls these modules.
//!
//! ```text
//! ebpf      rebuilds or checks the committed kernel objects
//! setup     finds what is missing, and installs it by the system's package manager
//! run       boots machines: on a real network, or two machines in the lab
//! program   soak, cluster and scale, which are programs of other crates
//! test      formatting, lints and all tests, including the privileged ones
//! ```
//!
//! Each command sets up, builds, and calls a crate below `tests/` or `packaging/`, which does the work. No other crate may
//! depend on this one.

pub mod ebpf;
pub mod program;
pub mod run;
pub mod setup;
pub mod test;
