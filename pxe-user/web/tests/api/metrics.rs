//! Metrics: OpenMetrics text of bounded cardinality. The dashboard and the alerts name only metrics that exist.

use std::collections::{BTreeMap, BTreeSet};

use pxe_fleet::board::{Board, Responder, State};
use pxe_web::api::metrics::Refused;

use crate::support::{Server, bare, board, change, full, get, lost};

/// Name and labels of each series, and its value.
type Series = BTreeMap<String, f64>;

/// Parses OpenMetrics text. For the part of the grammar that pxed uses, it is as strict as the grammar.
fn parse(text: &str) -> (Series, BTreeMap<String, String>) {
    let body = text.strip_suffix("# EOF\n").expect("the end is marked");
    let (mut series, mut types) = (Series::new(), BTreeMap::new());
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (keyword, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            match keyword {
                "TYPE" => {
                    assert!(types.insert(name.to_owned(), rest.to_owned()).is_none(), "{name} comes twice")
                }
                "HELP" | "UNIT" => {}
                other => panic!("{other} is no keyword"),
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let metric = name.split('{').next().unwrap();
        assert!(metric.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
        let family = types
            .keys()
            .filter(|family| metric.starts_with(family.as_str()))
            .max_by_key(|family| family.len());
        let kind = &types[family.unwrap_or_else(|| panic!("{line} has no type"))];
        assert!(kind != "counter" || metric.ends_with("_total"), "{line}");
        if let Some(labels) = name.strip_prefix(metric).filter(|labels| !labels.is_empty()) {
            check_labels(labels);
        }
        assert!(series.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{name} comes twice");
    }
    (series, types)
}

fn check_labels(labels: &str) {
    let inner = labels.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    let (mut quoted, mut escaped) = (false, false);
    for character in inner.chars() {
        match character {
            _ if escaped => {
                assert!(matches!(character, '"' | '\\' | 'n'), "{labels}");
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {
                assert!(quoted || character.is_ascii_alphanumeric() || "_=,".contains(character), "{labels}")
            }
        }
    }
    assert!(!quoted, "{labels}");
}

async fn scrape(server: &Server) -> (Series, BTreeMap<String, String>) {
    let answer = server.ask(get("/metrics")).await;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    parse(answer.text())
}

#[tokio::test]
async fn what_is_shown_is_counted() {
    let responder = |own, alive, waiting| Responder { own, alive, waiting, ..Responder::default() };
    let responders = vec![responder(false, true, 9), responder(true, true, 4), responder(false, false, 0)];
    let server = Server::start(Board { lost: vec![lost()], responders, ..board(25) });
    let (series, _) = scrape(&server).await;
    for (name, value) in [
        ("pxed_machines{state=\"failed\"}", 3.0),
        ("pxed_machines{state=\"ignored\"}", 2.0),
        ("pxed_machines_tested{outcome=\"fail\"}", 3.0),
        ("pxed_lost", 1.0),
        ("pxed_ready", 1.0),
        ("pxed_config_refused", 0.0),
        ("pxed_foreign_proxies", 1.0),
        (r#"pxed_responder_info{responder="rack-1",segment="lab"}"#, 1.0),
        (r#"pxed_responders{alive="true"}"#, 2.0),
        (r#"pxed_responders{alive="false"}"#, 1.0),
        ("pxed_ledger_waiting", 4.0),
        (r#"pxed_tftp_sent_bytes_total{interface="eth\"0\\"}"#, 1_000_000.0),
        (r#"pxed_transfers{interface="eth\"0\\"}"#, 2.0),
        (r#"pxed_events_total{interface="eth\"0\\",event="tftp_complete"}"#, 8.0),
        (r#"pxed_kernel_packets_total{interface="eth\"0\\",verdict="pass_not_ipv4"}"#, 12.0),
    ] {
        assert_eq!(series.get(name), Some(&value), "{name}: {series:#?}");
    }
    server.stop().await;
}

/// Waits until a series has this value: a task of its own counts updates.
async fn until(server: &Server, name: &str, value: f64) -> Series {
    loop {
        let (series, _) = scrape(server).await;
        if series.get(name) == Some(&value) {
            return series;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_changes_adds_up_and_what_was_before_does_not() {
    let server = Server::start(board(10));
    until(&server, "pxed_boots_total", 0.0).await;
    let mut machine = bare(100, State::Offered);
    machine.boots = 1;
    change(&server.fleet, machine.clone());
    until(&server, "pxed_boots_total", 1.0).await;
    machine.state = State::Running;
    machine.completed = 1;
    machine.retransmits = 4;
    change(&server.fleet, machine.clone());
    let series = until(&server, "pxed_boot_stage_seconds_count{stage=\"load\"}", 1.0).await;
    assert_eq!(series["pxed_boots_completed_total"], 1.0);
    assert_eq!(series["pxed_boot_retransmits_total"], 4.0);
    assert_eq!(series["pxed_boot_stage_seconds_sum{stage=\"load\"}"], 7.0);
    assert_eq!(series["pxed_boot_stage_seconds_bucket{le=\"2.0\",stage=\"offer\"}"], 1.0);
    machine.state = State::Returned;
    change(&server.fleet, machine.clone());
    let series = until(&server, "pxed_state_changes_total{state=\"returned\"}", 1.0).await;
    assert_eq!(series["pxed_boots_total"], 1.0);
    // An earlier process has counted the numbers of a machine that comes from the database.
    change(&server.fleet, full(200, State::Passed));
    let mut failed = full(200, State::Failed);
    failed.verdict.as_mut().unwrap().errors += 5;
    change(&server.fleet, failed);
    until(&server, "pxed_memory_errors_total", 5.0).await;
    server.stop().await;
}

#[tokio::test]
async fn ten_times_the_machines_are_not_one_series_more() {
    let few = scrape(&Server::start(board(20))).await.0.len();
    let many = scrape(&Server::start(board(200))).await.0.len();
    assert_eq!(few, many);
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_name_only_what_there_is() {
    let responders = vec![Responder { own: true, ..Responder::default() }];
    let server = Server::over(Board { responders, ..board(20) }, Some("127.0.0.1:0"), None);
    until(&server, "pxed_boots_total", 0.0).await;
    // Some series exist only after their first event.
    change(&server.fleet, bare(100, State::Offered));
    let mut done = bare(100, State::Running);
    done.completed = 1;
    change(&server.fleet, done);
    until(&server, "pxed_boot_stage_seconds_count{stage=\"load\"}", 1.0).await;
    for outcome in ["accepted", "malformed"] {
        server.api.counts().report(outcome);
        server.api.counts().upload(outcome, 1);
    }
    server.api.counts().refused(Refused::Token);
    let (series, _) = scrape(&server).await;
    let there: BTreeSet<_> = series.keys().map(|name| name.split('{').next().unwrap()).collect();
    for (file, text) in [
        ("grafana-dashboard.json", include_str!("../../../../monitoring/grafana-dashboard.json")),
        ("alerts.yml", include_str!("../../../../monitoring/alerts.yml")),
    ] {
        let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        let named: BTreeSet<_> = words.filter(|word| word.starts_with("pxed_")).collect();
        assert!(named.len() > 5, "{file} names {named:?}");
        let missing: Vec<_> = named.difference(&there).collect();
        assert!(missing.is_empty(), "{file} names {missing:?}, which are not there");
    }
    // The label values that alerts select must exist as counters.
    for event in ["socket_ring_full", "socket_fill_ring_empty", "socket_dropped"] {
        assert!(include_str!("../../../../monitoring/alerts.yml").contains(event));
        let counted =
            pxe_engine::counters::PublishedCounters::default().read().any(|(label, _)| label == event);
        assert!(counted, "{event}");
    }
}
