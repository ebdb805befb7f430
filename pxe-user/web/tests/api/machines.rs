//! Reports and uploads of machines, over the server for machines.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::StatusCode;
use pxe_content::inbox::{Inbox, Quota};
use pxe_content::rules::Access;
use pxe_fleet::handle::FleetHandle;
use pxe_fleet::report::BODY_MAX;
use pxe_proto::mac::Mac;
use pxe_web::api::Api;
use pxe_web::api::machines::{Machines, Reports, router};
use pxe_web::api::serve::{ConnectionLimits, serve_tcp};
use pxe_web::http::Gate;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Answer, NONCE, Server, ask, board, get, mac, request};

/// The Ethernet address of the machine at 127.0.0.1.
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
            ConnectionLimits { all: 16, each: 8, beyond: 0 },
            std::future::pending(),
        ));
        Self { server, address, access }
    }

    async fn send(&self, method: &str, path: &str, body: impl Into<bytes::Bytes>) -> Answer {
        let request = request(method, path).header("x-pxed", "1").body(body.into().into()).unwrap();
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

/// The path for reports of a machine of the board, in its present boot.
fn report_path(mac: &str) -> String {
    format!("/pxed/{NONCE}/report/v1/{mac}")
}

/// The path for an upload of the machine.
fn inbox_path(mac: &str, name: &str) -> String {
    format!("/pxed/{NONCE}/inbox/{mac}/{name}")
}

#[tokio::test]
async fn a_report_reaches_the_fleet_with_what_its_sender_claims() {
    let side = Side::start(HERE.parse().ok(), false);
    let path = report_path(HERE);
    assert_eq!(side.send("POST", &path, r#"{"stage":"start","cpus":4,"news":1}"#).await.status, 204);
    assert_eq!(side.asked(), [format!("report {HERE} Start")]);
    for wrong in ["", "{}", "[]", r#"{"stage":"explode"}"#, "\u{0}"] {
        assert_eq!(side.send("POST", &path, wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(side.send("POST", &path, vec![b' '; BODY_MAX + 1]).await.status, 413);
    assert_eq!(side.send("POST", &report_path("me"), "{}").await.status, 400);
    assert_eq!(side.asked().len(), 1);
    let metrics = side.metrics().await;
    for counted in ["accepted\"} 1", "malformed\"} 5", "too_large\"} 1", "mac\"} 1"] {
        assert!(metrics.contains(&format!("pxed_reports_total{{outcome=\"{counted}\n")), "{metrics}");
    }
}

/// A sender with no nonce, a wrong one, or another machine's address is rejected with the reason, and counted.
#[tokio::test]
async fn nobody_speaks_for_another_machine() {
    let side = Side::start(HERE.parse().ok(), true);
    let report = r#"{"stage":"done","pass":true}"#;
    let wrong = "0".repeat(32);
    for (method, path, status) in [
        ("POST", format!("/report/v1/{HERE}"), 403),
        ("POST", format!("/pxed/x/report/v1/{HERE}"), 403),
        ("POST", format!("/pxed/{wrong}/report/v1/{HERE}"), 403),
        ("POST", report_path(&mac(2)), 403),
        ("POST", report_path(&mac(4000)), 404),
        ("PUT", format!("/inbox/{HERE}/x"), 403),
        ("PUT", format!("/pxed/{wrong}/inbox/{HERE}/x"), 403),
        ("PUT", inbox_path(&mac(2), "x"), 403),
        ("PUT", inbox_path(&mac(4000), "x"), 404),
    ] {
        assert_eq!(side.send(method, &path, report).await.status, status, "{method} {path}");
    }
    assert!(side.asked().is_empty());
    assert_eq!(std::fs::read_dir(side.file("")).unwrap().count(), 0);
    let metrics = side.metrics().await;
    for counted in ["nonce\"} 3", "sender\"} 1", "unknown\"} 1"] {
        assert!(metrics.contains(&format!("pxed_reports_total{{outcome=\"{counted}\n")), "{metrics}");
    }
    for counted in ["nonce\"} 2", "sender\"} 1", "unknown\"} 1"] {
        assert!(metrics.contains(&format!("pxed_uploads_total{{outcome=\"{counted}\n")), "{metrics}");
    }
    assert_eq!(side.send("POST", &report_path(HERE), report).await.status, 204);
}

/// A page in a browser can post a form, or plain text, to any address.
#[tokio::test]
async fn a_report_is_nothing_that_a_form_can_send() {
    let side = Side::start(HERE.parse().ok(), false);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let request = request("POST", &report_path(HERE)).header("content-type", kind);
        let request = request.body(r#"{"stage":"start"}"#.into()).unwrap();
        let answer = ask(TcpStream::connect(side.address).await.unwrap(), request).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
    }
    assert!(side.asked().is_empty());
    assert!(side.metrics().await.contains("pxed_api_refused_total{reason=\"header\"} 3\n"));
}

#[tokio::test]
async fn uploads_are_off_unless_there_is_an_inbox() {
    let side = Side::start(None, false);
    assert_eq!(side.send("PUT", &inbox_path(HERE, "x"), "x").await.status, 404);
}

#[tokio::test]
async fn an_upload_arrives_whole_or_not_at_all() {
    let side = Side::start(HERE.parse().ok(), true);
    let content: Vec<u8> = (0..1_000_000_u32).map(|index| (index % 251) as u8).collect();
    let path = inbox_path(HERE, "dmesg.txt");
    assert_eq!(side.send("PUT", &path, content.clone()).await.status, 201);
    assert_eq!(std::fs::read(side.file(&format!("{HERE}/dmesg.txt"))).unwrap(), content);
    assert_eq!(side.send("PUT", &path, "other").await.status, 409);
    assert_eq!(side.send("GET", &path, "").await.status, 405);
    assert_eq!(side.send("PUT", &inbox_path(HERE, "big"), vec![0; (1 << 20) + 1]).await.status, 413);
    assert_eq!(side.send("PUT", &inbox_path(HERE, "second"), content.clone()).await.status, 201);
    assert_eq!(side.send("PUT", &inbox_path(HERE, "third"), content).await.status, 507);
    for name in ["..", "%2e%2e", ".x", "a%2fb", "a%00b", "%2e%2e%2fx", "a%20b", "%ff"] {
        let answer = side.send("PUT", &inbox_path(HERE, name), "x").await;
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
    let head = format!(
        "PUT {} HTTP/1.1\r\nhost: here\r\ncontent-length: 1000\r\n\r\n0123456789",
        inbox_path(HERE, "x")
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    drop(stream);
    while !side.metrics().await.contains("pxed_uploads_total{outcome=\"aborted\"} 1\n") {
        tokio::task::yield_now().await;
    }
    assert_eq!(std::fs::read_dir(side.file("")).unwrap().count(), 0);
    assert!(side.asked().is_empty());
    assert_eq!(side.send("PUT", &inbox_path(HERE, "x"), "whole").await.status, 201);
}

/// A fleet that does not answer gets at most eight reports, and one from each sender.
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
        ConnectionLimits::of_all(64),
        std::future::pending(),
    ));
    let send = move |last: u8| async move {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).unwrap();
        let request = request("POST", &report_path(HERE))
            .header("x-pxed", "1")
            .body(r#"{"stage":"start"}"#.into())
            .unwrap();
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
    // If a sender disconnects, its report stays with the fleet and keeps its slot.
    waiting.shutdown().await;
    assert_eq!(send(10).await.status, 503);
    assert!(messages.try_recv().is_err());
}

/// `[access]` also applies to reports and uploads, and each rejected request is counted.
#[tokio::test]
async fn who_is_not_on_the_list_hands_nothing_in() {
    let side = Side::start(Some(HERE.parse().unwrap()), true);
    side.access.store(Arc::new(Access::only(vec!["04:00:00:*".parse().unwrap()])));
    let report = report_path(HERE);
    let upload = inbox_path(HERE, "log.txt");
    for (method, path) in [("POST", &report), ("PUT", &upload), ("GET", &upload)] {
        assert_eq!(side.send(method, path, "{}").await.status, 403, "{method}");
    }
    let metrics = side.server.ask(get("/metrics")).await;
    assert!(metrics.text().contains("pxed_api_refused_total{reason=\"access\"} 3\n"), "{}", metrics.text());
    assert_eq!(side.asked(), [] as [&str; 0]);
    side.access.store(Arc::new(Access::only(vec!["02:00:00:*".parse().unwrap()])));
    assert_eq!(side.send("PUT", &upload, "kept").await.status, 201);
}
