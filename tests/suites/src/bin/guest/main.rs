//! The first process of a guest with another kernel (see `pxe_guests`). It loads the modules, runs the cases, writes a line
//! about each to the second serial port, and switches the guest off.
//!
//! As an ordinary process, it refuses to run.

mod cases;
mod daemon;
mod system;

use anyhow::{Context as _, Result, ensure};
use pxe_tests::guest;

fn main() -> Result<()> {
    ensure!(
        std::process::id() == 1,
        "this program must be the first process of a guest: run `cargo xtask vm`"
    );
    let done = run();
    if let Err(error) = &done {
        guest::say(&format!("guest: {error:#}"));
    }
    // Also after an error: the host waits until the guest ends.
    system::power_off()
}

fn run() -> Result<()> {
    system::set_up().context("setting up the guest")?;
    guest::run(cases::ALL)
}
