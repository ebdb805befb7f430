//! The load generator: one run, one line of JSON. `cargo xtask bench` starts it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use pxe_tests::load::fleet::{self, Plan};
use pxe_tests::load::machine::Wish;

/// Plays many machines that boot at once.
#[derive(Debug, Parser)]
struct Arguments {
    /// Interface towards the server
    #[arg(long)]
    interface: String,
    /// The server's address
    #[arg(long)]
    server: Ipv4Addr,
    /// How many machines
    #[arg(long, default_value_t = 128)]
    machines: u32,
    /// The file as the server names it
    #[arg(long)]
    file: String,
    /// The same file here, to compare every byte
    #[arg(long)]
    original: PathBuf,
    /// Bytes per block
    #[arg(long, default_value_t = 1468)]
    blksize: u16,
    /// Blocks per window
    #[arg(long, default_value_t = 1)]
    windowsize: u16,
    /// Milliseconds over which the machines are switched on
    #[arg(long, default_value_t = 0)]
    power_on: u64,
    /// Frames lost on the way to the machines, per mille
    #[arg(long, default_value_t = 0)]
    loss: u32,
    /// The longest that the run may take, in seconds
    #[arg(long, default_value_t = 60)]
    limit: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let index = std::fs::read_to_string(format!("/sys/class/net/{}/ifindex", arguments.interface))
        .with_context(|| format!("no interface {}", arguments.interface))?;
    let plan = Plan {
        interface: index.trim().parse()?,
        server: arguments.server,
        machines: arguments.machines,
        power_on: Duration::from_millis(arguments.power_on),
        loss: arguments.loss,
        limit: Duration::from_secs(arguments.limit),
        wish: Wish {
            file: arguments.file,
            bytes: std::fs::read(&arguments.original).context("the original cannot be read")?,
            blksize: arguments.blksize,
            windowsize: arguments.windowsize,
        },
    };
    println!("{}", fleet::run(&plan)?.to_json());
    Ok(())
}
