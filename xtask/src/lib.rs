//! What cargo cannot do, as a library: set-up and the lab of namespaces and virtual machines.
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
//! The binary is a thin command line over it.

pub mod ebpf;
pub mod miri;
pub mod run;
pub mod setup;
pub mod soak;
pub mod test;
