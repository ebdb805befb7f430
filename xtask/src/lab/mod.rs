//! A network that nothing leaves: a switch, an ordinary DHCP server, room for a responder and a client, and
//! machines with real firmware. Root only; everything lives in network namespaces.
//!
//! ```text
//!   dhcp 10.99.0.1         responder 10.99.0.2      client 10.99.0.3     machines
//!   dnsmasq, addresses     the daemon under test    tftp, curl, ...      QEMU
//!     dhcp0                  pxe0                     cli0               |  |
//!       |                      |                        |                |  |
//!   to-dhcp ------------- to-pxe ---------------- to-cli -------------- m0 m1 ...      br0, in the switch
//! ```
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use xtask::lab::{Firmware, Lab, MachineSpec};
//!
//! let lab = Lab::builder().machines(1).start()?;
//! let mut daemon = lab.responder().command("/path/to/pxed");
//! daemon.args(["serve", "--interface", lab.responder().interface()]);
//! let daemon = lab.spawn("pxed", daemon)?;
//! daemon.wait_for("ready", Duration::from_secs(10))?;
//! let outcome = lab.boot(&MachineSpec::new("bios", Firmware::Bios, 0), |_| {})?;
//! assert!(outcome.booted, "{}", outcome.reason);
//! # Ok(())
//! # }
//! ```
//!
//! Names carry the process that made them, so labs run side by side. Guards remove everything when they are
//! dropped; so does a signal handler ([`Lab::builder`] installs it), children die with us (`PR_SET_PDEATHSIG`),
//! and every start sweeps up what a killed predecessor left: its namespaces, the programs in them (the kernel
//! forgets the death signal of a program that changes its user or capabilities) and its files.
//!
//! The machines are emulated. `PXED_LAB_ACCEL=kvm` uses KVM instead, where a person knows that it works.

mod dnsmasq;
pub mod firmware;
mod machine;
mod memory;
mod network;
mod owner;
mod process;
mod qemu;
mod qmp;
mod screen;
mod verdict;

pub use dnsmasq::Reference;
pub use machine::{Outcome, Progress};
pub use memory::SharedMemory;
pub use network::{Builder, Host, Lab};
pub use owner::{clean_on_signals, sweep};
pub use process::{LogTail, Process};
pub use qemu::{Card, Firmware, MachineSpec};
pub use screen::{Glyphs, Screen};
pub use verdict::{Expect, Stage};
