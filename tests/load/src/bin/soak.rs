//! `cargo xtask soak` starts it: machines boot for hours, and the daemon must not grow.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use pxe_load::soak::{self, Wish};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Boots machines again and again, and looks whether the daemon grows.
#[derive(Debug, Parser)]
struct Options {
    /// For how long
    #[arg(long)]
    minutes: f64,
    /// How packets reach the daemon: xdp or socket
    #[arg(long)]
    datapath: String,
}

fn main() -> Result<()> {
    let Options { minutes, datapath } = Options::parse();
    let time = Duration::try_from_secs_f64(minutes * 60.0)?;
    let wish = Wish { time, datapath, interrupted: std::sync::Arc::default() };
    // All else goes with the namespace of this process; the daemon and the files must be taken away.
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, wish.interrupted.clone()).context("a handler of signals")?;
    }
    let outcome = soak::run(&wish, |line| println!("{line}"))?;
    println!("{outcome}");
    outcome.check()?;
    println!("FLAT: everybody booted, and the daemon is as large as before");
    Ok(())
}
