//! Runs short schedules of `cargo xtask cluster`.

use std::sync::Arc;
use std::time::Duration;

use pxe_load::cluster::schedule::Schedule;
use pxe_load::cluster::{self, Wish};

const MACHINES: u32 = 200;
const POWER_ON: Duration = Duration::from_secs(4);
const AWAY: Duration = Duration::from_secs(8);
/// The first seeds of `cargo xtask cluster`.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=10;

fn all_boot_and_the_ledger_is_whole(schedules: Vec<Schedule>, datapath: &str) {
    let mut lines = String::new();
    let wish = Wish { schedules, datapath: datapath.into(), interrupted: Arc::default() };
    let report = cluster::run(&wish, |line| lines += &format!("{line}\n"));
    let report = report.unwrap_or_else(|error| panic!("{error:#}\n{lines}"));
    report.check().unwrap_or_else(|error| panic!("{error}\n{report}\n{lines}"));
    println!("{report}\n{lines}");
}

#[test]
fn machines_boot_while_a_responder_or_the_database_fails() {
    let schedules = vec![
        Schedule::calm(400, POWER_ON * 2),
        Schedule::killed(MACHINES, POWER_ON),
        Schedule::database(MACHINES, POWER_ON, AWAY),
        Schedule::frozen(MACHINES, POWER_ON, AWAY),
        Schedule::upgrade(MACHINES, POWER_ON),
    ];
    all_boot_and_the_ledger_is_whole(schedules, "xdp");
}

#[test]
fn machines_boot_while_anything_fails() {
    let schedules = SEEDS.map(|seed| Schedule::random(seed, 60, POWER_ON)).collect();
    all_boot_and_the_ledger_is_whole(schedules, "xdp");
}
