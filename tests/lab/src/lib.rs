//! Emulated machines with real firmware, connected to the network that `pxe_kit` makes.
//!
//! ```text
//! qemu      a machine's parts, as QEMU's command line
//! qmp       what QEMU is told while it runs
//! machine   boots one machine and watches it
//! screen    what is on its screen, as text
//! verdict   whether it shows what is expected of it, or never will
//! memory    the memory of a running machine
//! demo      two machines boot, for `cargo xtask run`
//! fleet     five machines, five rules, and what the board says of them
//! ```
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use pxe_kit::Lab;
//! use pxe_lab::{Firmware, MachineSpec, boot};
//!
//! let lab = Lab::builder().machines(1).start()?;
//! let mut daemon = lab.responder().command("/path/to/pxed");
//! daemon.args(["serve", "--interface", lab.responder().interface()]);
//! let daemon = lab.spawn("pxed", daemon)?;
//! daemon.wait_for("ready", Duration::from_secs(10))?;
//! let outcome = boot(&lab, &MachineSpec::new("bios", Firmware::Bios, 0), |_| {})?;
//! assert!(outcome.booted, "{}", outcome.reason);
//! # Ok(())
//! # }
//! ```
//!
//! The machines are emulated. `PXED_LAB_ACCEL=kvm` uses KVM instead, where a person knows that it works.

pub mod demo;
pub mod fleet;
mod machine;
mod memory;
mod qemu;
mod qmp;
mod screen;
mod verdict;

pub use machine::{BootOutcome, Progress, boot};
pub use memory::SharedMemory;
pub use qemu::{Card, Firmware, MachineSpec};
pub use screen::{Glyphs, Screen};
pub use verdict::{Expect, Stage};
