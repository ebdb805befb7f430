//! The first process of a guest with another kernel (see `pxe_guests`): loads the modules, runs the cases, writes one line
//! about each to the second serial port, and switches the guest off.
//!
//! It runs in a guest only: as an ordinary process it does nothing.

mod cases;
mod daemon;
mod system;

use anyhow::{Context as _, Result, ensure};
use pxe_tests::guest;

fn main() -> Result<()> {
    ensure!(std::process::id() == 1, "this is the first process of a guest: `cargo xtask vm` boots one");
    let done = run();
    if let Err(error) = &done {
        guest::say(&format!("guest: {error:#}"));
    }
    // Whatever happened: a guest that is still there is waited for.
    system::power_off()
}

fn run() -> Result<()> {
    system::set_up().context("setting up the guest")?;
    guest::run(cases::ALL)
}
