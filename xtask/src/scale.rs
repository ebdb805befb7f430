//! `cargo xtask scale`: the fleet layers of many responders at one PostgreSQL. The program `scale` of pxe-scale does the work,
//! as an ordinary user.

use anyhow::Result;
use pxe_kit::command;

use crate::setup;

/// Sets up, builds, and runs the program `scale`.
///
/// # Errors
/// If something is missing, does not compile, or fails.
pub fn run(responders: u32, machines: &[u32], probes: u32) -> Result<()> {
    setup::ensure(setup::CLUSTER)?;
    pxe_bench::prepare("scale")?;
    let machines = machines.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let mut scale = std::process::Command::new(command::target_dir().join("release/scale"));
    scale.args(["--responders", &responders.to_string(), "--machines", &machines]);
    command::run(scale.args(["--probes", &probes.to_string()]))
}
