//! What cargo cannot do, as a library: set-up and the lab of namespaces and virtual machines.
//!
//! ```text
//! ebpf      the committed kernel objects: built anew, or compared
//! apt       Debian's packages, fetched and unpacked without installing anything; unpacked: programs of theirs that run so
//! arch      what Debian, Rust and GCC call an architecture
//! cross     a toolchain that builds for each of them, against an old C library
//! elf       what a program needs of its system
//! cache     what is fetched or built once
//! setup     what must be installed, found by looking for it; installed by the system's package manager
//! loaders   boot loaders that tests boot, fetched without installing them
//! lab       a switch, a DHCP server, hosts and QEMU machines, all inside network namespaces
//! run       the main job: a real interface, or the lab with two machines
//! vm        Debian's kernels in QEMU, each with a guest program of ours
//! fleet     everything at once: five machines, five rules, and what the board says of them
//! image     the memory test that reports over the network
//! bench     the daemon and its peers in turn, under the load generator
//! package   what a release is made of, and its checks
//! soak      machines that boot for hours, and a daemon that must not grow
//! fuzz      the search for inputs that break what must hold
//! miri      unsafe code under Miri, where that is installed
//! test      formatting, lints and every test, the privileged ones included
//! ```
//!
//! The privileged tests use [`lab`] directly; the binary is a thin command line over the rest.

mod apt;
pub mod arch;
pub mod bench;
mod cache;
pub mod clock;
pub mod command;
pub mod cross;
pub mod ebpf;
mod elf;
pub mod fleet;
pub mod fuzz;
pub mod image;
pub mod lab;
pub mod loaders;
pub mod miri;
pub mod package;
pub mod run;
pub mod setup;
pub mod soak;
pub mod test;
mod unpacked;
pub mod vm;
