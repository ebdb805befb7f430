//! `cargo xtask soak`: machines boot for hours, and the daemon must not grow. The program `soak` of pxe-load does the work.

use std::os::unix::process::CommandExt as _;

use anyhow::{Result, bail, ensure};
use pxe_kit::command;

use crate::setup;

/// Sets up, builds, and replaces this process by the program `soak`, so that signals reach it, and its exit code is
/// returned.
///
/// # Errors
/// If something is missing, or does not compile.
pub fn run(minutes: f64, datapath: &str) -> Result<()> {
    ensure!(minutes.is_finite() && minutes > 0.0, "the time must be positive: --minutes 10, or --hours 8");
    setup::ensure(setup::BENCH)?;
    pxe_bench::prepare("soak")?;
    let mut soak = command::as_root("env")?;
    soak.args(command::kept_environment()).arg(command::target_dir().join("release/soak"));
    soak.args(["--minutes", &minutes.to_string(), "--datapath", datapath]);
    println!("soak: {}", command::shown(&soak));
    let error = soak.exec();
    bail!("cannot start the soak: {error}")
}
