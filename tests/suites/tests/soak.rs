//! Runs the soak of `cargo xtask soak` for half a minute.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pxe_load::soak::{self, Wish};

const TIME: Duration = Duration::from_secs(30);

fn soak(datapath: &str) -> String {
    let mut table = String::new();
    let wish = Wish { time: TIME, datapath: datapath.into(), interrupted: Arc::default() };
    let outcome = soak::run(&wish, |line| table += &format!("{line}\n"));
    let outcome = outcome.unwrap_or_else(|error| panic!("{datapath}: {error:#}\n{table}"));
    outcome.check().unwrap_or_else(|error| panic!("{datapath}: {error}\n{table}{outcome}"));
    format!("{datapath}: {outcome}\n{table}")
}

/// Both datapaths run at once, each in its own namespace, because a soak mostly waits for time-outs.
#[test]
fn after_many_boots_the_daemon_is_as_large_as_before_over_each_datapath() {
    thread::scope(|scope| {
        for thread in ["xdp", "socket"].map(|datapath| scope.spawn(move || soak(datapath))) {
            println!("{}", thread.join().expect("the error is printed above"));
        }
    });
}
