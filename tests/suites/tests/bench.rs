//! The benchmark's shortest form: that it works, and that every byte arrives. No figure of time is judged here.

use std::fs;

use pxe_bench::{Case, Form, Look, Play, RESPONDERS, Results, Sample, Setup, Who, Wish};
use pxe_kit::daemon;

#[test]
fn the_short_form_has_all_its_rows_and_every_byte_arrives() {
    let programs = daemon::program().parent().unwrap().to_owned();
    assert!(programs.join("load").is_file(), "pxed and load are built together: run `cargo xtask test`");
    let setup = Setup::TwoMachines;
    let wish = Wish { form: Form::Check, filter: None, rounds: 1, setup, judge_limited: false, programs };
    let results = pxe_bench::measure(&wish).unwrap();
    for case in &results.cases {
        for &who in case.who.iter().filter(|who| results.absent.iter().all(|(absent, _)| absent != *who)) {
            let name = case.name();
            let samples: Vec<_> = results.samples.of(&name, who).collect();
            assert_eq!(samples.len(), 1, "{name}: {who:?}");
            assert_content(case, samples[0]);
            assert_compared(samples[0]);
        }
    }
    // Whoever is missing is an offload that is not built, or was not fetched for so short a run.
    assert!(results.absent.iter().all(|(who, _)| ![Who::Dnsmasq, Who::Socket, Who::Generic].contains(who)));
    assert_tables(&results);
    assert_files(&results);
}

/// All machines are done, none got a wrong byte, none gave up.
fn assert_content(case: &Case, sample: &Sample) {
    let told = format!("{}: {:?}: {}", sample.case, sample.who, sample.report);
    assert_eq!(sample.error(), None, "{told}");
    let get = |name| sample.get(name).unwrap_or_else(|| panic!("no `{name}` in {told}"));
    match case.play {
        _ if sample.who == Who::Reflect => assert!(get("reflected_per_second") > 0.0, "{told}"),
        Play::Load { .. } if case.seconds > 0 => {
            assert_eq!((get("failed"), get("wrong")), (0.0, 0.0), "{told}");
            assert!(get("bytes") > 0.0 && get("seconds") > 0.0, "{told}");
        }
        Play::Load { machines, file, .. }
        | Play::Boots { machines, file, .. }
        | Play::HttpBoots { machines, file, .. } => {
            assert_eq!(get("done"), f64::from(machines), "{told}");
            assert_eq!((get("failed"), get("wrong")), (0.0, 0.0), "{told}");
            assert_eq!(get("bytes"), f64::from(machines) * file.bytes() as f64, "{told}");
        }
        Play::Offers { machines, each } => {
            assert_eq!((get("done"), get("failed")), (f64::from(machines), 0.0), "{told}");
            assert!(get("offers") >= f64::from(machines * each), "{told}");
        }
        Play::Programs { .. } => {
            assert_eq!((get("failed"), get("wrong")), (0.0, 0.0), "{told}");
            assert!(get("answer_ns") > 0.0, "{told}");
            if Who::OURS.contains(&sample.who) {
                // By how much they are longer than an empty program: nothing at all may be right.
                for frame in ["foreign_tcp_ns", "foreign_udp_ns", "foreign_arp_ns"] {
                    assert!(get(frame) >= 0.0, "{told}");
                }
            }
        }
        Play::Http { .. } => {
            assert_eq!((get("failed"), get("wrong")), (0.0, 0.0), "{told}");
            assert!(get("done") > 0.0 && get("bytes") > 0.0, "{told}");
        }
        Play::Idle { .. } => assert!(get("idle_share") >= 0.0 && get("idle_wakes") >= 0.0, "{told}"),
        Play::Waiting { .. } => assert!(get("server_own_memory") > 0.0, "{told}"),
        Play::Stream { .. } => assert!(get("mbit") > 0.0, "{told}"),
    }
}

/// Where the kernel played the machines, it has compared some blocks with all their bytes.
fn assert_compared(sample: &Sample) {
    if let Some(blocks) = sample.get("kernel_blocks") {
        assert!(blocks > 0.0 && sample.get("kernel_compared") > Some(0.0), "{}", sample.report);
        assert!(sample.get("generator_share").is_some_and(|share| share > 0.0), "{}", sample.report);
    }
}

/// Each case has its table, with a row for everybody whom it names.
fn assert_tables(results: &Results) {
    let tables = results.tables(Look::Terminal);
    assert_eq!(tables.len(), results.cases.len());
    for (block, case) in tables.iter().zip(&results.cases) {
        let text = block.table.to_string();
        for who in case.who {
            assert!(text.lines().any(|line| line.starts_with(who.title())), "no {who:?} in\n{text}");
        }
    }
    assert!(RESPONDERS.iter().all(|responder| responder.who.title() == responder.title));
}

/// The page names all cases, and its pictures are there and whole.
fn assert_files(results: &Results) {
    let folder = tempfile::tempdir().unwrap();
    results.write(folder.path()).unwrap();
    let page = fs::read_to_string(folder.path().join("results.md")).unwrap();
    for case in &results.cases {
        assert!(page.contains(&format!("### {}\n", case.name())), "{page}");
    }
    let pictures: Vec<&str> =
        page.split("](").filter_map(|rest| rest.split_once(".svg)")).map(|(name, _)| name).collect();
    assert_eq!(pictures.len(), 4, "{page}");
    for picture in pictures {
        let svg = fs::read_to_string(folder.path().join(format!("{picture}.svg"))).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{picture}");
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count(), "{picture}");
        assert!(svg.matches("<rect").count() > 3, "{picture} has no bars");
        assert!(svg.contains(Who::Generic.title()), "{picture}");
    }
    let samples = fs::read_to_string(folder.path().join("samples.json")).unwrap();
    let samples: serde_json::Value = serde_json::from_str(&samples).unwrap();
    assert_eq!(samples["samples"].as_array().map(Vec::len), Some(results.samples.0.len()));
    assert!(samples["machine"]["kernel"].as_str().is_some_and(|kernel| kernel.starts_with("Linux ")));
}
