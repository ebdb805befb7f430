//! Emulated machines with real firmware, connected to the network that `pxe_kit` makes.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use pxe_kit::Lab;
//! use xtask::lab::{Firmware, MachineSpec, boot};
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

mod machine;
mod memory;
mod qemu;
mod qmp;
mod screen;
mod verdict;

pub use machine::{Outcome, Progress, boot};
pub use memory::SharedMemory;
pub use qemu::{Card, Firmware, MachineSpec};
pub use screen::{Glyphs, Screen};
pub use verdict::{Expect, Stage};
