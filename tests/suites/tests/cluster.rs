//! Runs short schedules of `cargo xtask cluster`.

use std::sync::Arc;
use std::time::Duration;

use pxe_load::cluster::schedule::Schedule;
use pxe_load::cluster::{self, Wish};

const MACHINES: u32 = 200;
const POWER_ON: Duration = Duration::from_secs(4);
const AWAY: Duration = Duration::from_secs(8);
/// Time over which machines are switched on if a responder is cut off: longer than its lease lasts.
const CUT: Duration = Duration::from_secs(14);
/// The first seeds of `cargo xtask cluster`. In them, together, everything fails.
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
        Schedule::promoted(MACHINES, POWER_ON),
        Schedule::upgrade(MACHINES, POWER_ON),
        Schedule::handed_over(MACHINES, POWER_ON),
    ];
    all_boot_and_the_ledger_is_whole(schedules, "xdp");
}

#[test]
fn machines_boot_while_a_responder_is_cut_off_or_has_another_time() {
    let schedules = vec![
        Schedule::without_ledger(MACHINES, CUT),
        Schedule::unplugged(MACHINES, CUT),
        Schedule::isolated(MACHINES, POWER_ON * 2),
        Schedule::clocks_apart(MACHINES, POWER_ON * 2),
    ];
    all_boot_and_the_ledger_is_whole(schedules, "xdp");
}

#[test]
fn machines_boot_while_anything_fails() {
    let schedules = SEEDS.map(|seed| Schedule::random(seed, 60, POWER_ON)).collect();
    all_boot_and_the_ledger_is_whole(schedules, "xdp");
}
