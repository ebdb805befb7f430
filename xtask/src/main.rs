//! `cargo xtask`: set-up, the main job, the tests.

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::setup;

/// Set-up, the main job and the tests of pxed.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing: eBPF toolchain, boot files, lab and test tools
    Setup,
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Setup => setup::ensure(setup::ALL),
    }
}
