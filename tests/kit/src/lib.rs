//! The code that tests and tools share: running programs and ending them, networks of namespaces, Debian's packages.
//!
//! ```text
//! command    finding and running programs, cargo included, and becoming root
//! clock      the only file here that reads the clock
//! process    programs that end with this process; their output goes to files
//! owner      records namespaces, folders and programs, and removes them
//! network    a switch and hosts, each in a network namespace
//! namespace  a network namespace for one thread
//! daemon     the daemon under test
//! load       the load generator's options
//! tree       files to serve
//! store      an S3 store and a web server, with TLS
//! postgres   a PostgreSQL server for one test
//! dnsmasq    the network's DHCP server, and the responder that pxed is compared with
//! firmware   where distributions install firmware, boot loaders and memtest86+
//! cache      downloads and long builds, made once
//! apt        Debian's packages, fetched and unpacked without installing anything
//! unpacked   programs of those packages that run from the cache
//! kustomize  renders manifests for Kubernetes
//! python     programs of the Python package index, in the cache
//! arch       the names of an architecture in Debian, Rust and GCC
//! cross      a toolchain for each architecture, with an old C library
//! elf        what a program needs from its system
//! faketime   programs with a clock of their own
//! figures    percentiles, and the processor time of a process
//! ```
//!
//! # A network
//!
//! A closed network in namespaces: a switch, an ordinary DHCP server, and hosts for a responder and a client. It needs
//! root.
//! `pxe-lab` connects emulated machines to it.
//!
//! ```text
//!   dhcp 10.99.0.1         responder 10.99.0.2      client 10.99.0.3     machines
//!   dnsmasq, addresses     the daemon under test    tftp, curl, ...      QEMU
//!     dhcp0                  pxe0                     cli0               |  |
//!       |                      |                        |                |  |
//!   to-dhcp ------------- to-pxe ---------------- to-cli -------------- m0 m1 ...      br0, in the switch
//! ```
//!
//! Names contain the ID of the process that made them, so several networks can exist at once. Four things remove them:
//!
//! - guards, when they are dropped
//! - a signal handler, which the start of a lab installs
//! - the parent-death signal of child processes (`PR_SET_PDEATHSIG`)
//! - the next start of a lab, for a process that was killed: its namespaces, the programs in them, and its files. The
//!   programs may have survived, because the kernel clears the parent-death signal when a program changes its user or
//!   capabilities.
//!
//! Keep this crate small and free of the product's crates, because each first `cargo xtask` builds it.

pub mod apt;
pub mod arch;
pub mod cache;
pub mod clock;
pub mod command;
pub mod cross;
pub mod daemon;
pub mod dnsmasq;
pub mod elf;
pub mod faketime;
pub mod figures;
pub mod firmware;
pub mod kustomize;
pub mod load;
pub mod namespace;
pub mod network;
pub mod owner;
pub mod postgres;
pub mod process;
pub mod python;
pub mod store;
pub mod tree;
pub mod unpacked;

pub use dnsmasq::Reference;
pub use network::{Builder, Host, Lab};
pub use owner::{clean_on_signals, sweep};
pub use process::{LogTail, Process};
