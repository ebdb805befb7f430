//! `cargo xtask soak`: machines boot for hours, and the daemon must not grow. The work is done by the program `soak` of
//! pxe-load, which has the machines.

use std::os::unix::process::CommandExt as _;

use anyhow::{Result, bail, ensure};
use pxe_kit::command;

use crate::setup;

/// Sets up, builds, and becomes the program that boots machines for so many minutes: signals and the exit code are its own.
///
/// # Errors
/// When something is missing, or does not compile.
pub fn run(minutes: f64, datapath: &str) -> Result<()> {
    ensure!(minutes.is_finite() && minutes > 0.0, "for some time, please: --minutes 10, or --hours 8");
    setup::ensure(setup::BENCH)?;
    pxe_bench::prepare("soak")?;
    let mut soak = command::as_root("env")?;
    soak.args(command::kept_environment()).arg(command::target_dir().join("release/soak"));
    soak.args(["--minutes", &minutes.to_string(), "--datapath", datapath]);
    println!("soak: {}", command::shown(&soak));
    let error = soak.exec();
    bail!("cannot start it: {error}")
}
