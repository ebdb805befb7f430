//! `cargo xtask cluster`: responders that share a segment and a ledger, while something fails. The program `cluster` of
//! pxe-load does the work.

use std::os::unix::process::CommandExt as _;

use anyhow::{Result, bail};
use pxe_kit::command;

use crate::setup;

/// Sets up, builds, and replaces this process by the program `cluster`, so that signals reach it, and its exit code is
/// returned.
///
/// # Errors
/// If something is missing, or does not compile.
pub fn run(machines: u32, random: u64, seed: u64, datapath: &str) -> Result<()> {
    setup::ensure(setup::CLUSTER)?;
    pxe_bench::prepare("cluster")?;
    let mut cluster = command::as_root("env")?;
    cluster.args(command::kept_environment()).arg(command::target_dir().join("release/cluster"));
    cluster.args(["--machines", &machines.to_string(), "--random", &random.to_string()]);
    cluster.args(["--seed", &seed.to_string(), "--datapath", datapath]);
    println!("cluster: {}", command::shown(&cluster));
    let error = cluster.exec();
    bail!("cannot start the cluster: {error}")
}
