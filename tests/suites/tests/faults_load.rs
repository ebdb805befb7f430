//! Faults while many machines load: all machines end with the right bytes, over each datapath. `cargo xtask bench
//! --faults` runs the same cases with more machines and with other servers, and writes docs/reliability. These tests
//! assert no times.

use pxe_bench::{Form, Sample, Setup, Wish};
use pxe_kit::daemon::{self, Daemon};
use pxe_kit::tree;
use pxe_load::fleet;
use pxe_load::pair::{Pair, all_done};

/// Runs the case with these words in its name over each datapath. No machine may fail or get wrong bytes.
fn suffer(words: &str) -> Vec<Sample> {
    suffer_but(words, 0.0)
}

/// Like [`suffer`], but `give_up` machines may fail.
fn suffer_but(words: &str, give_up: f64) -> Vec<Sample> {
    let programs = daemon::program().parent().unwrap().to_owned();
    let wish = Wish {
        form: Form::FaultsShort,
        filter: Some(words.into()),
        rounds: 1,
        judge_limited: false,
        // Without pinning to cores, because a debug build needs both.
        setup: Setup::Plain,
        programs,
    };
    let results = pxe_bench::measure(&wish).unwrap();
    assert_eq!(results.samples.0.len(), results.cases.iter().map(|case| case.who.len()).sum::<usize>());
    for sample in &results.samples.0 {
        let told = format!("{}: {:?}: {}", sample.case, sample.who, sample.report);
        assert_eq!(sample.error(), None, "{told}");
        assert!(sample.get("done").is_some_and(|done| done > 0.0), "{told}");
        assert_eq!(sample.get("wrong"), Some(0.0), "{told}");
        assert!(sample.get("failed").is_some_and(|failed| failed <= give_up), "{told}");
    }
    results.samples.0
}

/// Checks that each sample has counted something at least once. Otherwise the fault did not happen, and the test proves
/// nothing.
fn have(samples: &[Sample], name: &str) {
    for sample in samples {
        let value = sample.get(name).unwrap_or_default();
        assert!(value > 0.0, "no {name}: {:?}: {}", sample.who, sample.report);
    }
}

/// One machine may fail: by chance, about one in 40,000 loses eleven replies in a row and gives up (docs/reliability.md).
#[test]
fn machines_end_well_when_a_third_of_what_they_are_sent_is_lost() {
    let samples = suffer_but("30 % lost", 1.0);
    have(&samples, "frames_lost");
    have(&samples, "repeats_ack");
}

#[test]
fn machines_end_well_when_a_third_of_what_they_are_sent_is_late() {
    have(&suffer("30 % late"), "frames_late");
}

#[test]
fn machines_end_well_when_a_third_of_what_they_are_sent_comes_twice() {
    have(&suffer("30 % twice"), "frames_twice");
}

#[test]
fn machines_end_well_when_frames_are_lost_late_and_doubled_on_both_ways() {
    let samples = suffer("each way");
    for what in ["frames_lost", "frames_twice", "frames_late", "back_lost", "back_twice", "back_late"] {
        have(&samples, what);
    }
    have(&samples, "repeats_rrq");
}

/// The daemon is stopped while more requests arrive than its rings hold.
#[test]
fn machines_end_well_when_the_daemon_does_nothing_for_seconds() {
    have(&suffer("stopped"), "repeats_rrq");
}

/// Each machine gets one whole version.
#[test]
fn machines_get_the_old_file_or_the_new_one_when_it_is_replaced() {
    have(&suffer("replaced"), "later_versions");
}

#[test]
fn machines_get_the_old_file_or_the_new_one_when_it_is_written_in_place() {
    let samples = suffer("rewritten");
    have(&samples, "changes");
    // Some machines got a later version, so the daemon has noticed the changes.
    have(&samples, "later_versions");
}

#[test]
fn machines_end_well_when_others_want_the_processor() {
    have(&suffer("starved"), "rivals_seconds");
}

/// Forged requests arrive, more than there are slots, and faster than machines send theirs. Machines load their files.
/// A forged address receives at most one block, and nothing at ports of services.
#[test]
fn machines_end_well_while_strangers_ask_and_strangers_get_little() {
    let samples = suffer("strangers");
    // Machines had to retransmit, so all slots were in use.
    have(&samples, "repeats_rrq");
    for sample in &samples {
        let told = format!("{:?}: {}", sample.who, sample.report);
        assert_eq!(sample.get("strangers"), Some(5000.0), "{told}");
        assert_eq!(sample.get("answers_to_services"), Some(0.0), "{told}");
        assert_eq!(sample.get("strangers_bytes"), Some(5000.0 * 18.0), "{told}");
        assert!(
            sample.get("strangers_answered").is_some_and(|count| (4000.0..=4500.0).contains(&count)),
            "{told}"
        );
        // A DATA packet of RFC 1350: a header of four bytes, and 512 bytes of the file.
        assert_eq!(
            (sample.get("stranger_packets"), sample.get("stranger_bytes")),
            (Some(1.0), Some(516.0)),
            "{told}"
        );
        assert_eq!(sample.get("server_root"), Some(0.0), "{told}");
        assert_eq!(sample.get("server_unfiltered"), Some(0.0), "{told}");
        assert!(sample.get("server_capabilities").is_some_and(|count| count <= 1.0), "{told}");
    }
}

/// Whole boots (DISCOVER, port 4011 for some, the request for the size, the transfer), with and without 5 % loss. A
/// machine sends four DISCOVERs. One in 160,000 loses all four and gives up, as it would with any server.
#[test]
fn two_thousand_machines_within_a_second_all_boot() {
    let (lossy, clean): (Vec<_>, Vec<_>) =
        suffer_but("whole boots", 1.0).into_iter().partition(|sample| sample.case.contains("% lost"));
    assert!(!lossy.is_empty() && !clean.is_empty());
    assert!(clean.iter().all(|sample| sample.get("failed") == Some(0.0)), "a machine failed without loss");
    have(&lossy, "frames_lost");
}

/// With far more machines than slots, each machine waits for a slot, and none is refused.
#[test]
fn machines_beyond_the_limit_of_transfers_wait_for_their_turn() {
    for datapath in ["xdp", "socket"] {
        let pair = Pair::new(1).unwrap();
        let file = tree::bytes(145_408);
        pair.put("file", &file).unwrap();
        let daemon = pair.serve(&["--datapath", datapath, "--transfers", "16"]).unwrap();
        let report = fleet::run(&pair.plan(400, ("file", &file), 2070)).unwrap();
        all_done(&report).unwrap_or_else(|error| panic!("{datapath}: {error}\n{}", daemon.log()));
        let log = daemon.stop().unwrap();
        assert!(Daemon::count(&log, "tftp_waited_admitted") > 0, "{datapath}: no request waited\n{log}");
    }
}
