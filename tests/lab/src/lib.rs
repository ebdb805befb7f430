//! Emulated machines with real firmware in the network of `pxe_kit`.
//!
//! ```text
//! qemu      a machine's parts, and QEMU's command line
//! qmp       the client of QEMU's monitor
//! machine   boots one machine and watches it
//! screen    reads the text on a screen
//! verdict   decides whether a machine shows what is expected, or has failed
//! memory    the memory of a running machine
//! demo      `cargo xtask run`: two machines boot
//! fleet     `cargo xtask fleet`: five machines, five rules, and the board
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
//! The machines are emulated. `PXED_LAB_ACCEL=kvm` uses KVM instead. It is not the default, because KVM may be present and
//! not work, for example under nested virtualisation.

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
