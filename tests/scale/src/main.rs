//! `cargo xtask scale` starts it: the fleet layers of many responders at one PostgreSQL.

use anyhow::Result;
use clap::Parser;
use pxe_scale::measure::{self, Wish};

/// Measures the fleet layers of many responders at one PostgreSQL.
#[derive(Debug, Parser)]
struct Options {
    /// Responders
    #[arg(long)]
    responders: u32,
    /// Machines, for each row of the table
    #[arg(long, value_delimiter = ',')]
    machines: Vec<u32>,
    /// Steps whose way to another board is measured
    #[arg(long)]
    probes: u32,
}

fn main() -> Result<()> {
    let Options { responders, machines, probes } = Options::parse();
    let table = measure::run(&Wish { responders, machines, probes }, |line| println!("{line}"))?;
    println!("{table}");
    Ok(())
}
