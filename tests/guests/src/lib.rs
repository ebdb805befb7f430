//! Boots other kernels in QEMU: Debian's, with a program of the tests as the first process.
//!
//! ```text
//! kernel     the list of kernels, with their suites; downloads are kept in the user's cache
//! modules    the modules that a guest needs, in the order of loading
//! programs   the programs of a guest, with their libraries
//! guest      QEMU, and the guest's report
//! bootstrap  makes whole Debian systems from packages
//! system     a guest that is a whole Debian system, with systemd
//! loaders    boot loaders for tests, unpacked and not installed
//! image      the memory test that reports over the network
//! show       `cargo xtask vm`: runs every case on every kernel, and prints the results
//! ```
//!
//! The guest is emulated, needs no root, and has no disk. Its first process, the program `guest` of the tests, runs the
//! cases, and writes a line about each to the second serial port:
//!
//! ```text
//! veth-native: ok
//! veth-socket: FAILED: no OFFER came
//! done
//! ```
//!
//! The guest runs the same build as all other tests, with its libraries. A static build would take minutes more, and
//! would be another program. For another architecture, [`pxe_kit::cross`] builds the programs.

mod bootstrap;
mod guest;
pub mod image;
mod kernel;
pub mod loaders;
mod modules;
mod programs;
mod show;
mod system;

pub use bootstrap::{SUITES, fetch_base, fetch_root};
pub use guest::{Guest, Report};
pub use kernel::{Fetched, KERNELS, Kernel, fetch, forget};
pub use programs::Programs;
pub use show::{chosen, run};
pub use system::{System, fetch_system};
