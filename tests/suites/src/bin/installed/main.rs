//! Tests the package in a Debian system with systemd (see `pxe_guests::System`): installation, start in the sandbox, a
//! boot, restarts also during a transfer, purge. Writes a line about each case to the second serial port.
//!
//! The program installs and removes a package, so it refuses to run anywhere but in its guest.

mod cases;
mod running;
mod service;

use std::path::Path;

use anyhow::{Result, ensure};

fn main() -> Result<()> {
    let is_guest = Path::new(service::PACKAGE).is_file() && Path::new("/init").is_file();
    ensure!(is_guest, "this program must run in a guest: run `cargo xtask test package`");
    pxe_tests::guest::run(cases::ALL)
}
