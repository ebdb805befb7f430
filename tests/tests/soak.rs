//! A minute of `cargo xtask soak` (issue 5, "Faults").

use std::time::Duration;

use pxe_tests::soak::{self, Wish};

fn soak(datapath: &str, seconds: u64) {
    let time = Duration::from_secs(seconds);
    let wish = Wish { time, datapath: datapath.into(), interrupted: std::sync::Arc::default() };
    let outcome = soak::run(&wish, |line| println!("{line}")).unwrap();
    outcome.check().unwrap_or_else(|error| panic!("{datapath}: {error}\n{outcome}"));
}

#[test]
fn after_many_boots_over_xdp_the_daemon_is_as_large_as_before() {
    soak("xdp", 45);
}

#[test]
fn after_many_boots_over_sockets_the_daemon_is_as_large_as_before() {
    soak("socket", 25);
}
