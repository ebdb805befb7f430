//! Requests that change nothing.

use std::sync::Arc;

use pxe_engine::gauges::Gauges;
use pxe_fleet::board::{Board, State};

use crate::support::{Server, board, get, lost, mac};

#[tokio::test]
async fn the_board_is_the_board_and_its_tag_saves_the_way() {
    let server = Server::start(board(20));
    let answer = server.ask(get("/api/v1/machines")).await;
    assert_eq!(answer.header("content-type"), "application/json");
    let read: Board = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(read, *server.fleet.board());
    let tag = answer.header("etag").to_owned();
    let again = |tag: &str| {
        let mut request = get("/api/v1/machines");
        request.headers_mut().insert("if-none-match", tag.parse().unwrap());
        request
    };
    let same = server.ask(again(&tag)).await;
    assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
    server.fleet.show(Board { revision: 8, ..board(1) }.into(), []);
    assert_eq!(server.ask(again(&tag)).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn some_states_only() {
    let server = Server::start(board(40));
    let answer = server.ask(get("/api/v1/machines?state=failed,passed")).await;
    let read: Board = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(read.machines.len(), 8);
    assert!(read.machines.iter().all(|machine| [State::Failed, State::Passed].contains(&machine.state)));
    let wrong = server.ask(get("/api/v1/machines?state=broken")).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.text().contains("failed, returned, silent"), "{}", wrong.text());
}

#[tokio::test]
async fn one_machine_and_the_steps_of_all() {
    let server = Server::start(board(3));
    let story = server.ask(get(&format!("/api/v1/machines/{}", mac(1)))).await.json();
    assert_eq!(story["machine"]["mac"], mac(1));
    assert_eq!(server.ask(get("/api/v1/machines/02:ff:ff:ff:ff:ff")).await.status, 404);
    assert_eq!(server.ask(get("/api/v1/machines/..%2f..%2fetc")).await.status, 404);
    let steps = server.ask(get("/api/v1/steps?after=4&limit=3")).await;
    let ids: Vec<_> = steps
        .text()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].clone())
        .collect();
    assert_eq!(ids, [5, 6, 7]);
}

#[tokio::test]
async fn the_daemon_at_a_glance_and_whether_it_is_ready() {
    let server = Server::start(Board { lost: vec![lost()], ..board(25) });
    let summary = server.ask(get("/api/v1/summary")).await.json();
    assert_eq!((&summary["totals"]["failed"], &summary["totals"]["ignored"]), (&3.into(), &2.into()));
    assert_eq!(summary["interfaces"][0]["queues"], 4);
    assert_eq!(summary["lost"][0]["what"], lost().what);
    assert_eq!(server.ask(get("/healthz")).await.text(), "alive\n");
    assert_eq!(server.ask(get("/readyz")).await.text(), "ready\n");
    let hanging = Gauges { hanging: vec!["pxed-loader".into()], ..crate::support::gauges() };
    server.gauges.store(Arc::new(hanging));
    let answer = server.ask(get("/readyz")).await;
    assert!(answer.status == 503 && answer.text().contains("pxed-loader"), "{answer:?}");
    server.gauges.store(Default::default());
    assert_eq!(server.ask(get("/readyz")).await.status, 503);
    assert_eq!(server.ask(get("/healthz")).await.status, 200);
}

#[tokio::test]
async fn it_is_not_ready_when_the_fleet_does_not_answer() {
    let directory = tempfile::tempdir().unwrap();
    let (fleet, _nobody_reads) = pxe_fleet::handle::FleetHandle::new();
    let gauges = std::sync::Arc::new(arc_swap::ArcSwap::from_pointee(crate::support::gauges()));
    let api = pxe_web::api::Api::new(fleet, gauges);
    let path = directory.path().join("pxed.sock");
    let listeners = pxe_web::api::Listeners::bind(&path, None, None).unwrap();
    let serving = tokio::spawn(pxe_web::api::serve(api, listeners, std::future::pending()));
    let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let answer = crate::support::ask(stream, get("/readyz")).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "2"));
    serving.abort();
}

/// The paths of the files that a page links or a script imports.
fn files_named(text: &str) -> Vec<String> {
    let after = |mark| text.split(mark).skip(1).filter_map(|rest: &str| rest.split('"').next());
    let linked = after("href=\"").chain(after("src=\"")).filter(|name| !name.starts_with('#'));
    linked.chain(after("from \"./")).map(|name| format!("/{name}")).collect()
}

#[tokio::test]
async fn the_page_is_served_and_nothing_beside_it() {
    let server = Server::start(board(0));
    // Every file that the page, or a file below it, names by a relative path is served too.
    let mut paths = vec!["/".to_owned()];
    let mut at = 0;
    while let Some(path) = paths.get(at).cloned() {
        at += 1;
        let kind = match path.rsplit_once('.') {
            Some((_, "js")) => "text/javascript",
            Some((_, "css")) => "text/css",
            _ => "text/html",
        };
        let answer = server.ask(get(&path)).await;
        assert!(answer.status == 200 && answer.header("content-type").starts_with(kind), "{path}");
        assert!(answer.header("content-security-policy").starts_with("default-src 'self'"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        for named in files_named(answer.text()) {
            if !paths.contains(&named) {
                paths.push(named);
            }
        }
    }
    // The files that can be reached from the page are all files of the directory: no script is unused.
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/page")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut there: Vec<_> = names.map(|name| format!("/{}", name.replace("index.html", ""))).collect();
    there.sort();
    paths.sort();
    assert_eq!(paths, there);
    for path in ["/nothing", "/../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd", "/api/v1", "/app.js/"] {
        let answer = server.ask(get(path)).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
    }
    assert_eq!(server.ask(crate::support::post("/api/v1/machines", "")).await.status, 405);
    let metrics = server.ask(get("/metrics")).await;
    for counted in ["{reason=\"path\"} 6\n", "{reason=\"method\"} 1\n"] {
        assert!(metrics.text().contains(&format!("pxed_api_refused_total{counted}")), "{}", metrics.text());
    }
}

#[tokio::test]
async fn two_thousand_machines() {
    let server = Server::start(board(2000));
    let before = tokio::time::Instant::now();
    let answer = server.ask(get("/api/v1/machines")).await;
    let took = before.elapsed();
    assert_eq!(serde_json::from_slice::<Board>(&answer.body).unwrap().machines.len(), 2000);
    println!("2000 machines: {} bytes in {took:?}", answer.body.len());
}
