//! Other kernels: Debian's, each booted in QEMU with a guest program of ours as its first process.
//!
//! ```text
//! kernel     which kernels, from which of Debian's suites; fetched once and kept in the user's cache
//! modules    the few modules that a guest needs, in the order in which they are loaded
//! programs   what runs in the guest, with the libraries that it is linked to
//! //! guest      QEMU, and what the guest reports
//! bootstrap  whole Debian systems, made of its packages once
//! system     a guest that is a whole Debian system, with systemd
//! loaders    boot loaders that tests boot, fetched without installing them
//! image      the memory test that machines boot and that reports over the network
//! show       `cargo xtask vm`: every case on every kernel, for a person
//! ```
//!
//! The guest is emulated, needs no root and has no disk. Its first process is the program `guest` of the tests: it runs
//! its cases, and writes one line about each to the second serial port:
//!
//! ```text
//! veth-native: ok
//! veth-socket: FAILED: no OFFER came
//! done
//! ```
//!
//! What is run in the guest is the ordinary build, the one that all other tests run, with its libraries beside it: a
//! static build would take minutes of its own, and be another program. A guest of another architecture runs what
//! [`pxe_kit::cross`] builds for it.

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
