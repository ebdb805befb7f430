//! The load generator's machines in the kernel: what they acknowledge is right, and what is wrong fails.

use pxe_kit::{daemon::Daemon, tree};
use pxe_load::fleet::{self, Plan};
use pxe_load::manners::Kind;
use pxe_load::pair::{self, ADDRESS, Pair};
use pxe_load::report::Report;
use pxe_load::script::{Crew, Dhcp, Script};

const NAME: &str = "boot-file";
const MACHINES: u32 = 16;
/// The kernel compares every byte of one of so many blocks.
const SAMPLE: u32 = 16;

/// A daemon that serves these bytes. Its XDP program makes the veth receive what the machines redirect to it.
fn serve(bytes: &[u8]) -> (Pair, Daemon) {
    let pair = Pair::new(1).unwrap();
    pair.put(NAME, bytes).unwrap();
    let daemon = pair.serve(&["--datapath", "xdp", "--xdp-mode", "native"]).unwrap();
    (pair, daemon)
}

/// Machines in the kernel load the file from a port of their own, and expect these bytes.
fn plan(pair: &Pair, bytes: &[u8], blksize: u16, windowsize: u16, port: u16) -> Plan {
    let script = Script::new(ADDRESS, Dhcp::Skip, Crew::All(Kind::Plain), blksize, windowsize);
    let mut script = script.loading(vec![(NAME.into(), bytes.to_vec())], 0);
    script.port = port;
    Plan { script, kernel: Some(SAMPLE), ..pair.plan(MACHINES, (NAME, bytes), port) }
}

/// All but the last block of each file.
fn blocks_in_kernel(bytes: usize, blksize: u16) -> u64 {
    u64::from(MACHINES) * (bytes as u64 / u64::from(blksize))
}

fn kernel_blocks(report: &Report) -> [u64; 2] {
    report.in_kernel.unwrap_or_else(|| panic!("{}", report.to_json()))
}

#[test]
fn the_kernel_acknowledges_all_but_the_last_block_and_compares_a_sample() {
    let bytes = tree::bytes(300_000);
    let (pair, daemon) = serve(&bytes);
    for (port, blksize, windowsize) in [(2070, 1468, 1), (2170, 512, 1), (2270, 1468, 16), (2370, 1001, 4)] {
        let report = fleet::run(&plan(&pair, &bytes, blksize, windowsize, port)).unwrap();
        let told = format!("{blksize}/{windowsize}: {}\n{}", report.to_json(), daemon.log());
        pair::all_done(&report).unwrap_or_else(|_| panic!("{told}"));
        assert_eq!(report.bytes, u64::from(MACHINES) * bytes.len() as u64, "{told}");
        if report.counters.repeats_ack + report.counters.repeats_rrq > 0 {
            // A busy machine: where a packet was lost or late, user space goes on for a while.
            continue;
        }
        let [acknowledged, compared] = kernel_blocks(&report);
        let all = blocks_in_kernel(bytes.len(), blksize);
        assert!(acknowledged <= all && acknowledged * 10 >= all * 9, "of {all}: {told}");
        // Sixteen machines begin to count at sixteen different blocks.
        assert!(compared * u64::from(SAMPLE) * 10 >= acknowledged * 9, "{told}");
    }
}

#[test]
fn block_numbers_go_on_after_65535() {
    let bytes = tree::bytes(65_540 * 64 + 7);
    let (pair, daemon) = serve(&bytes);
    let plan = Plan { machines: 1, ..plan(&pair, &bytes, 64, 1, 2070) };
    let report = fleet::run(&plan).unwrap();
    pair::all_done(&report).unwrap_or_else(|error| panic!("{error}\n{}", daemon.log()));
    let [acknowledged, _] = kernel_blocks(&report);
    assert!(acknowledged > 65_536, "{}", report.to_json());
}

#[test]
fn one_wrong_byte_fails_the_machine_that_compares_it() {
    let bytes = tree::bytes(200_000);
    let mut wrong = bytes.clone();
    wrong[77 * 1468 + 1467] ^= 1;
    let (pair, _daemon) = serve(&wrong);
    for (port, compare, failed) in [(2070, SAMPLE, u64::from(MACHINES / SAMPLE)), (2170, 1, MACHINES.into())]
    {
        let plan = Plan { kernel: Some(compare), ..plan(&pair, &bytes, 1468, 1, port) };
        let report = fleet::run(&plan).unwrap();
        assert_eq!((report.wrong, report.failed), (failed, failed), "{compare}: {}", report.to_json());
    }
}

#[test]
fn a_file_that_ends_early_or_late_fails_every_machine() {
    let bytes = tree::bytes(100_000);
    for served in [&bytes[..90_000], &[&bytes[..], &bytes[..]].concat()] {
        let (pair, _daemon) = serve(served);
        let report = fleet::run(&plan(&pair, &bytes, 1468, 1, 2070)).unwrap();
        assert_eq!((report.done, report.wrong), (0, MACHINES.into()), "{}", report.to_json());
    }
}

#[test]
fn files_that_are_loaded_again_and_again_count_each_time() {
    let bytes = tree::bytes(50_000);
    let (pair, daemon) = serve(&bytes);
    let mut plan = plan(&pair, &bytes, 1468, 1, 2070);
    plan.script.loads = 5;
    let report = fleet::run(&plan).unwrap();
    pair::all_done(&report).unwrap_or_else(|error| panic!("{error}\n{}", daemon.log()));
    assert_eq!(report.bytes, 5 * u64::from(MACHINES) * bytes.len() as u64, "{}", report.to_json());
    assert!(report.percentiles[2] < report.seconds, "{}", report.to_json());
}
