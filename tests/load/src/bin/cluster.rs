//! `cargo xtask cluster` starts it: responders that share a segment and a ledger serve machines while something fails.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use pxe_load::cluster::{self, Wish, schedule::Schedule};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Boots machines beside failing responders and a failing database.
#[derive(Debug, Parser)]
struct Options {
    /// Machines of each written schedule
    #[arg(long)]
    machines: u32,
    /// Number of random schedules
    #[arg(long)]
    random: u64,
    /// Seed of the first random schedule; the others follow
    #[arg(long)]
    seed: u64,
    /// How packets reach the daemons: xdp or socket
    #[arg(long)]
    datapath: String,
    /// Written schedules whose name contains this, and no others
    #[arg(long, default_value = "")]
    only: String,
}

/// Time over which the machines of a written schedule are switched on.
const POWER_ON: Duration = Duration::from_secs(10);
/// The same if a responder is cut off: its lease ends meanwhile.
const CUT: Duration = Duration::from_secs(20);
/// How long the database is away.
const AWAY: Duration = Duration::from_secs(60);
/// Machines of a random schedule, and the time over which they are switched on.
const RANDOM: (u32, Duration) = (200, Duration::from_secs(6));

fn main() -> Result<()> {
    let Options { machines, random, seed, datapath, only } = Options::parse();
    let mut schedules = Vec::new();
    if machines > 0 {
        schedules.extend([
            Schedule::calm(machines, POWER_ON),
            Schedule::killed(machines, POWER_ON),
            Schedule::database(machines, POWER_ON, AWAY),
            Schedule::frozen(machines, POWER_ON, AWAY / 2),
            Schedule::promoted(machines, POWER_ON),
            Schedule::upgrade(machines, POWER_ON),
            Schedule::handed_over(machines, POWER_ON),
            Schedule::without_ledger(machines, CUT),
            Schedule::unplugged(machines, CUT),
            Schedule::isolated(machines, CUT),
            Schedule::clocks_apart(machines, POWER_ON),
        ]);
    }
    schedules.retain(|schedule: &Schedule| schedule.name.contains(&only));
    schedules.extend((seed..seed + random).map(|seed| Schedule::random(seed, RANDOM.0, RANDOM.1)));
    let wish = Wish { schedules, datapath, interrupted: std::sync::Arc::default() };
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, wish.interrupted.clone()).context("a handler of signals")?;
    }
    let report = cluster::run(&wish, |line| println!("{line}"))?;
    println!("{report}");
    report.check()?;
    println!("WHOLE: every machine booted, and the ledger has each file once");
    Ok(())
}
