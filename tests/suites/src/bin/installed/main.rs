//! The package in a Debian system with systemd (see `pxe_guests::System`): installed, started with its sandbox on, a machine
//! served, started again also in the middle of a transfer, purged. Writes one line about each case to the second serial port.
//!
//! It is a service of a guest only: anywhere else it does nothing, since it installs and removes a package.

mod cases;
mod running;
mod service;

use std::path::Path;

use anyhow::{Result, ensure};

fn main() -> Result<()> {
    let is_guest = Path::new(service::PACKAGE).is_file() && Path::new("/init").is_file();
    ensure!(is_guest, "this runs in a guest: `cargo xtask test package` boots one");
    pxe_tests::guest::run(cases::ALL)
}
