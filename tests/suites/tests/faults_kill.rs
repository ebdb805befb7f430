//! The daemon is killed while machines load, and started again. Machines that retry load their files, nothing stays
//! attached or pinned, and the history is complete.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use pxe_kit::daemon::program;
use pxe_kit::{clock, tree};
use pxe_load::fleet;
use pxe_load::manners::Kind;
use pxe_load::pair::{self, ADDRESS, INTERFACE, Pair};
use pxe_load::script::{Crew, Dhcp, Script};
use rustix::mount::{MountFlags, mount};
use rustix::process::Signal;
use serde_json::Value;

const MACHINES: u32 = 200;
/// The limit for all waits. It only ends a test that hangs.
const LIMIT: Duration = Duration::from_secs(60);
const DATAPATHS: [&[&str]; 2] = [&["--datapath", "xdp"], &["--datapath", "socket"]];

#[test]
fn machines_that_come_again_end_well_after_kill_9_in_the_middle_of_200_transfers() {
    for datapath in DATAPATHS {
        let pair = Pair::new(1).unwrap();
        mount("bpf", "/sys/fs/bpf", "bpf", MountFlags::empty(), None).unwrap();
        let pinned_before = pinned();
        let file = tree::bytes(4_000_000);
        pair.put("boot.img", &file).unwrap();
        let state = pair.folder().join("state").display().to_string();
        let arguments = [datapath, &["--state", &state]].concat();
        let daemon = pair.serve(&arguments).unwrap();
        let mut plan = pair.plan(MACHINES, ("boot.img", &file), 2070);
        plan.script = Script::new(ADDRESS, Dhcp::Boot, Crew::All(Kind::Ipxe), 1432, 1)
            .loading(vec![("boot.img".into(), file)], 0);
        plan.script.again = 3;
        let (amid, all_load) = std::sync::mpsc::channel();
        let machines =
            std::thread::spawn(move || fleet::run_and_amid(&plan, || amid.send(()).unwrap()).unwrap());
        all_load.recv().unwrap();
        let mut before = HashMap::new();
        // The daemon shows machines only after it has written them to the database.
        clock::wait_until("some machines are known", LIMIT, || {
            before = first_seen(&status(&pair)?);
            Ok(!before.is_empty())
        })
        .unwrap();
        daemon.signal(Signal::KILL).unwrap();
        pair::wait_detached(INTERFACE).unwrap();
        assert!(!machines.is_finished(), "all transfers ended before the kill");
        assert_eq!(pinned(), pinned_before);
        drop(daemon);

        let daemon = pair.serve(&arguments).unwrap();
        let report = machines.join().unwrap();
        pair::all_done(&report).unwrap_or_else(|error| panic!("{datapath:?}: {error}\n{}", daemon.log()));
        assert_eq!(report.done, u64::from(MACHINES));
        assert!(report.counters.begun_again > 0, "{datapath:?}: no machine retried: {}", report.to_json());
        // The database is undamaged, and knows the machines from before and after the kill.
        let known = |status: &Value| {
            let lost = status["lost"].as_array().is_some_and(Vec::is_empty);
            lost && status["machines"].as_array().is_some_and(|all| all.len() == MACHINES as usize)
        };
        clock::wait_until("all machines are known", LIMIT, || Ok(known(&status(&pair)?))).unwrap();
        // An empty database would also know all machines, because all retried. So compare when they were first seen.
        let after = first_seen(&status(&pair).unwrap());
        for (mac, at) in before {
            assert_eq!(after.get(&mac), Some(&at), "{datapath:?}: {mac} was not in the database");
        }
        let log = daemon.stop().unwrap();
        assert!(!log.contains("damaged"), "{log}");
    }
}

fn status(pair: &Pair) -> anyhow::Result<Value> {
    let output = Command::new(program())
        .args(["status", "--json", "--socket"])
        .arg(pair.folder().join("pxed.sock"))
        .output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The time at which each machine was first seen.
fn first_seen(status: &Value) -> HashMap<String, u64> {
    let machines = status["machines"].as_array().into_iter().flatten();
    machines
        .filter_map(|machine| Some((machine["mac"].as_str()?.to_owned(), machine["first_seen"].as_u64()?)))
        .collect()
}

/// The names in the BPF file system, which contains entries of the kernel's own.
fn pinned() -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> =
        std::fs::read_dir("/sys/fs/bpf").unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}
