//! What tests and tasks share: running programs and ending them, networks of namespaces, and Debian's packages.
//!
//! ```text
//! command    finding and running programs, cargo's too, and becoming root
//! clock      the only place here that reads the clock
//! process    programs that end with this one; their output goes to files
//! owner      who owns namespaces, folders and programs, and how they go away
//! network    a switch and hosts, each in a network namespace
//! namespace  a network namespace for one thread
//! daemon     the daemon under test
//! load       the load generator's options
//! tree       files to serve
//! dnsmasq    the network's DHCP server, and the responder that pxed is compared with
//! firmware   where distributions install firmware, boot loaders and memtest86+
//! cache      what is fetched or built once
//! apt        Debian's packages, fetched and unpacked without installing anything
//! unpacked   programs of those packages that run from the cache
//! arch       what Debian, Rust and GCC call an architecture
//! cross      a toolchain that builds for each of them, against an old C library
//! elf        what a program needs of its system
//! ```
//!
//! # A network
//!
//! Nothing leaves it: a switch, an ordinary DHCP server, and room for a responder and a client. Root only; everything lives
//! in network namespaces. `pxe-lab` connects emulated machines to it.
//!
//! ```text
//!   dhcp 10.99.0.1         responder 10.99.0.2      client 10.99.0.3     machines
//!   dnsmasq, addresses     the daemon under test    tftp, curl, ...      QEMU
//!     dhcp0                  pxe0                     cli0               |  |
//!       |                      |                        |                |  |
//!   to-dhcp ------------- to-pxe ---------------- to-cli -------------- m0 m1 ...      br0, in the switch
//! ```
//!
//! Names carry the process that made them, so networks run side by side. Guards remove everything when they are
//! dropped; so does a signal handler ([`Lab::builder`] installs it), children die with us (`PR_SET_PDEATHSIG`),
//! and every start sweeps up what a killed predecessor left: its namespaces, the programs in them (the kernel
//! forgets the death signal of a program that changes its user or capabilities) and its files.
//!
//! This crate must stay small: `cargo xtask` builds it first. It names no crate of the product.

pub mod apt;
pub mod arch;
pub mod cache;
pub mod clock;
pub mod command;
pub mod cross;
pub mod daemon;
pub mod dnsmasq;
pub mod elf;
pub mod firmware;
pub mod load;
pub mod namespace;
pub mod network;
pub mod owner;
pub mod process;
pub mod tree;
pub mod unpacked;

pub use dnsmasq::Reference;
pub use network::{Builder, Host, Lab};
pub use owner::{clean_on_signals, sweep};
pub use process::{LogTail, Process};
