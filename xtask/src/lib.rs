//! What cargo cannot do, as commands: `main` reads the command line and calls these.
//!
//! ```text
//! ebpf      the committed kernel objects: built anew, or compared
//! setup     what must be installed, found by looking for it; installed by the system's package manager
//! run       the main job: a real interface, or the lab with two machines
//! soak      machines that boot for hours, and a daemon that must not grow
//! miri      unsafe code under Miri, where that is installed
//! test      formatting, lints and every test, the privileged ones included
//! ```
//!
//! Each command sets up, builds, and calls a crate below `tests/` or `packaging/`, which does the work. No other crate names this
//! one.

pub mod ebpf;
pub mod miri;
pub mod run;
pub mod setup;
pub mod soak;
pub mod test;
