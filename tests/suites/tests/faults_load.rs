//! What goes wrong while many machines load: all of them end, with the right bytes, over each
//! datapath. `cargo xtask bench --faults` runs the same with more machines, beside what a user would take instead, and
//! writes docs/reliability. No figure of time is judged here.

use pxe_bench::{Form, Sample, Setup, Wish};
use pxe_kit::daemon::{self, Daemon};
use pxe_kit::tree;
use pxe_load::fleet;
use pxe_load::pair::{Pair, all_done};

/// Runs the case with these words in its name over each datapath; nobody may fail, or get wrong bytes.
fn suffer(words: &str) -> Vec<Sample> {
    suffer_but(words, 0.0)
}

/// The same, but so many machines may give up.
fn suffer_but(words: &str, give_up: f64) -> Vec<Sample> {
    let programs = daemon::program().parent().unwrap().to_owned();
    let wish = Wish {
        form: Form::FaultsShort,
        filter: Some(words.into()),
        rounds: 1,
        // Both cores for whoever needs them: a debug build does.
        judge_limited: false,
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

/// What all samples must have seen at least once: else nothing went wrong, and nothing was shown.
fn have(samples: &[Sample], name: &str) {
    for sample in samples {
        let value = sample.get(name).unwrap_or_default();
        assert!(value > 0.0, "no {name}: {:?}: {}", sample.who, sample.report);
    }
}

/// Eleven answers in a row are lost for one machine in 40,000 or so, and it gives up: docs/reliability.md.
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

/// More requests than any ring holds, and nobody there to read them.
#[test]
fn machines_end_well_when_the_daemon_does_nothing_for_seconds() {
    have(&suffer("stopped"), "repeats_rrq");
}

/// Each machine gets one version, whole.
#[test]
fn machines_get_the_old_file_or_the_new_one_when_it_is_replaced() {
    have(&suffer("replaced"), "later_versions");
}

#[test]
fn machines_get_the_old_file_or_the_new_one_when_it_is_written_in_place() {
    let samples = suffer("rewritten");
    have(&samples, "changes");
    // And what changed was seen.
    have(&samples, "later_versions");
}

#[test]
fn machines_end_well_when_others_want_the_processor() {
    have(&suffer("starved"), "rivals_seconds");
}

/// Requests in the names of machines that do not exist, more than there are transfers and faster than machines ask: machines
/// that exist get theirs, and who was named gets one block at the most, and nothing at ports of services.
#[test]
fn machines_end_well_while_strangers_ask_and_strangers_get_little() {
    let samples = suffer("strangers");
    // All places were taken.
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
        // RFC 1350: four bytes, and 512 of the file.
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

/// DISCOVER, port 4011 for a part, the probe and the transfer, with and without 5 % loss. A machine asks four times for an offer, and
/// all four are lost for one in 160,000: that one stops, as it would with any server.
#[test]
fn two_thousand_machines_within_a_second_all_boot() {
    let (lossy, clean): (Vec<_>, Vec<_>) =
        suffer_but("whole boots", 1.0).into_iter().partition(|sample| sample.case.contains("% lost"));
    assert!(!lossy.is_empty() && !clean.is_empty());
    assert!(clean.iter().all(|sample| sample.get("failed") == Some(0.0)), "nothing was lost");
    have(&lossy, "frames_lost");
}

/// Far more machines than transfers at a time: each waits for its turn, and none is refused.
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
        assert!(Daemon::count(&log, "tftp_waited_admitted") > 0, "{datapath}: nobody waited\n{log}");
    }
}
