//! What machines hand in, over the server that they reach.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::StatusCode;
use pxe_user::api::Api;
use pxe_user::api::inbox::{Inbox, Quota};
use pxe_user::api::machines::{Machines, Reports, router};
use pxe_user::api::serve::{Most, serve_tcp};
use pxe_user::fleet::handle::FleetHandle;
use pxe_user::fleet::report::BODY_MAX;
use pxe_user::http::Gate;
use pxe_user::mac::Mac;
use pxe_user::rules::Access;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use pxe_user::fleet::board::{Machine, State};

use crate::support::{Answer, Server, ask, bare, board, change, get, mac, request};

/// The machine behind 127.0.0.1, and one that is not.
const HERE: &str = "02:00:00:00:00:01";

struct Side {
    server: Server,
    address: SocketAddr,
    access: Arc<ArcSwap<Access>>,
}

impl Side {
    fn start(known: Option<Mac>, inbox: bool) -> Self {
        let server = Server::start(board(3));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let quota = Quota { file: 1 << 20, machine: 2 << 20, total: 3 << 20 };
        let machines = Machines {
            fleet: server.fleet.clone(),
            neighbours: Arc::new(move |_: Ipv4Addr| known),
            inbox: inbox.then(|| Inbox::open(&server.directory.path().join("inbox"), quota).unwrap()),
            reports: Reports::default(),
            counts: server.api.counts().clone(),
        };
        let access: Arc<ArcSwap<Access>> = Arc::default();
        let gate = Gate {
            access: Arc::clone(&access),
            neighbours: Arc::clone(&machines.neighbours),
            counts: machines.counts.clone(),
        };
        let router = gate.before(router(machines));
        tokio::spawn(serve_tcp(
            listener,
            router,
            server.api.counts().clone(),
            "machines",
            Most { all: 16, each: 8 },
            std::future::pending(),
        ));
        Self { server, address, access }
    }

    async fn send(&self, method: &str, path: &str, body: impl Into<bytes::Bytes>) -> Answer {
        let request = request(method, path).body(body.into().into()).unwrap();
        ask(TcpStream::connect(self.address).await.unwrap(), request).await
    }

    fn asked(&self) -> Vec<String> {
        self.server.asked.lock().unwrap().clone()
    }

    fn file(&self, path: &str) -> PathBuf {
        self.server.directory.path().join("inbox").join(path)
    }

    async fn metrics(&self) -> String {
        self.server.ask(get("/metrics")).await.text().to_owned()
    }
}

#[tokio::test]
async fn a_report_reaches_the_fleet_with_its_senders_address() {
    let side = Side::start(HERE.parse().ok(), false);
    let path = format!("/report/v1/{HERE}");
    assert_eq!(side.send("POST", &path, r#"{"stage":"start","cpus":4,"news":1}"#).await.status, 204);
    assert_eq!(side.asked(), [format!("report {HERE} Some(127.0.0.1) Start")]);
    for wrong in ["", "{}", "[]", r#"{"stage":"explode"}"#, "\u{0}"] {
        assert_eq!(side.send("POST", &path, wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(side.send("POST", &path, vec![b' '; BODY_MAX + 1]).await.status, 413);
    assert_eq!(side.send("POST", "/report/v1/me", "{}").await.status, 400);
    assert_eq!(side.asked().len(), 1);
    let metrics = side.metrics().await;
    for counted in ["accepted\"} 1", "malformed\"} 5", "too_large\"} 1", "sender\"} 1"] {
        assert!(metrics.contains(&format!("pxed_reports_total{{outcome=\"{counted}\n")), "{metrics}");
    }
}

#[tokio::test]
async fn nobody_speaks_for_another_machine() {
    let side = Side::start(HERE.parse().ok(), true);
    let report = r#"{"stage":"done","pass":true}"#;
    let path = |mac: &str| format!("/report/v1/{mac}");
    assert_eq!(side.send("POST", &path(&mac(2)), report).await.status, 403);
    assert_eq!(side.send("PUT", &format!("/inbox/{}/x", mac(2)), "x").await.status, 403);
    // From behind a router the kernel knows nobody: the machine must be known, there or behind a relay.
    let routed = Side::start(None, true);
    let known = |index: usize, address: Option<&str>, relay: Option<&str>| {
        let address = address.map(str::to_owned);
        let relay = relay.map(str::to_owned);
        change(&routed.server.fleet, Machine { address, relay, ..bare(index, State::Running) });
    };
    known(1, Some("127.0.0.1"), None);
    known(2, Some("10.9.9.9"), None);
    known(3, Some("10.9.9.9"), Some("10.9.0.1"));
    for (index, status) in [(1, 204), (2, 403), (3, 204), (4000, 404)] {
        assert_eq!(routed.send("POST", &path(&mac(index)), report).await.status, status, "{index}");
    }
    assert_eq!(routed.send("PUT", &format!("/inbox/{}/x", mac(2)), "x").await.status, 403);
    assert!(side.asked().is_empty());
}

#[tokio::test]
async fn uploads_are_off_unless_there_is_an_inbox() {
    let side = Side::start(None, false);
    assert_eq!(side.send("PUT", &format!("/inbox/{HERE}/x"), "x").await.status, 404);
}

#[tokio::test]
async fn an_upload_arrives_whole_or_not_at_all() {
    let side = Side::start(HERE.parse().ok(), true);
    let content: Vec<u8> = (0..1_000_000_u32).map(|index| (index % 251) as u8).collect();
    let path = format!("/inbox/{HERE}/dmesg.txt");
    assert_eq!(side.send("PUT", &path, content.clone()).await.status, 201);
    assert_eq!(std::fs::read(side.file(&format!("{HERE}/dmesg.txt"))).unwrap(), content);
    assert_eq!(side.send("PUT", &path, "other").await.status, 409);
    assert_eq!(side.send("GET", &path, "").await.status, 405);
    assert_eq!(side.send("PUT", &format!("/inbox/{HERE}/big"), vec![0; (1 << 20) + 1]).await.status, 413);
    assert_eq!(side.send("PUT", &format!("/inbox/{HERE}/second"), content.clone()).await.status, 201);
    assert_eq!(side.send("PUT", &format!("/inbox/{HERE}/third"), content).await.status, 507);
    for name in ["..", "%2e%2e", ".x", "a%2fb", "a%00b", "%2e%2e%2fx", "a%20b", "%ff"] {
        let answer = side.send("PUT", &format!("/inbox/{HERE}/{name}"), "x").await;
        assert!(answer.status == 400 || answer.status == 404, "{name}: {answer:?}");
    }
    assert_eq!(
        side.asked(),
        [format!("uploaded {HERE} dmesg.txt 1000000"), format!("uploaded {HERE} second 1000000")]
    );
    let there: Vec<_> =
        std::fs::read_dir(side.file("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(there, [HERE]);
    assert!(side.metrics().await.contains("pxed_uploaded_bytes_total 2000000\n"));
}

#[tokio::test]
async fn an_upload_that_is_broken_off_leaves_nothing() {
    let side = Side::start(HERE.parse().ok(), true);
    let mut stream = TcpStream::connect(side.address).await.unwrap();
    let head =
        format!("PUT /inbox/{HERE}/x HTTP/1.1\r\nhost: here\r\ncontent-length: 1000\r\n\r\n0123456789");
    stream.write_all(head.as_bytes()).await.unwrap();
    drop(stream);
    while !side.metrics().await.contains("pxed_uploads_total{outcome=\"aborted\"} 1\n") {
        tokio::task::yield_now().await;
    }
    assert_eq!(std::fs::read_dir(side.file("")).unwrap().count(), 0);
    assert!(side.asked().is_empty());
    assert_eq!(side.send("PUT", &format!("/inbox/{HERE}/x"), "whole").await.status, 201);
}

/// A fleet that answers nobody gets eight reports, and one from each sender.
#[tokio::test]
async fn reports_do_not_pile_up() {
    let (fleet, mut messages) = FleetHandle::new();
    let counts = Api::new(fleet.clone(), Arc::default()).counts().clone();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let neighbours = Arc::new(|_: Ipv4Addr| HERE.parse().ok());
    let reports = Reports::default();
    let machines = Machines { fleet, neighbours, inbox: None, reports, counts: counts.clone() };
    tokio::spawn(serve_tcp(
        listener,
        router(machines),
        counts,
        "machines",
        Most::of_all(64),
        std::future::pending(),
    ));
    let send = move |last: u8| async move {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).unwrap();
        let request =
            request("POST", &format!("/report/v1/{HERE}")).body(r#"{"stage":"start"}"#.into()).unwrap();
        ask(socket.connect(address).await.unwrap(), request).await
    };
    let mut waiting = tokio::task::JoinSet::new();
    let mut handed = Vec::new();
    for last in 1..=8 {
        waiting.spawn(send(last));
        handed.push(messages.recv().await.unwrap());
        assert_eq!(send(last).await.status, 503);
    }
    let refused = send(9).await;
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "2"));
    // Whoever goes away leaves the report with the fleet, and its place taken.
    waiting.shutdown().await;
    assert_eq!(send(10).await.status, 503);
    assert!(messages.try_recv().is_err());
}

/// `[access]`: reports and uploads as well, and each refusal is counted.
#[tokio::test]
async fn who_is_not_on_the_list_hands_nothing_in() {
    let side = Side::start(Some(HERE.parse().unwrap()), true);
    side.access.store(Arc::new(Access::only(vec!["04:00:00:*".parse().unwrap()])));
    let report = format!("/report/v1/{HERE}");
    let upload = format!("/inbox/{HERE}/log.txt");
    for (method, path) in [("POST", &report), ("PUT", &upload), ("GET", &upload)] {
        assert_eq!(side.send(method, path, "{}").await.status, 403, "{method}");
    }
    let metrics = side.server.ask(get("/metrics")).await;
    assert!(metrics.text().contains("pxed_api_refused_total{reason=\"access\"} 3\n"), "{}", metrics.text());
    assert_eq!(side.asked(), [] as [&str; 0]);
    side.access.store(Arc::new(Access::only(vec!["02:00:00:*".parse().unwrap()])));
    assert_eq!(side.send("PUT", &upload, "kept").await.status, 201);
}
