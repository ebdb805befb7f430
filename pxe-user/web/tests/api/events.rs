//! The event stream.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use pxe_fleet::board::{State, Update};
use pxe_fleet::handle::UPDATES_MAX;
use pxe_web::api::VIEWERS_MAX;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::support::{Server, bare, board, change, get, lost, mac, send, step};

const LOOPBACK: Option<&str> = Some("127.0.0.1:0");

/// Reads events from the stream. Each event is returned as name, id and data.
struct EventReader {
    body: Incoming,
    text: String,
}

impl EventReader {
    async fn open(server: &Server) -> Self {
        Self::over(UnixStream::connect(server.socket()).await.unwrap()).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let answer = send(stream, get("/api/v1/events")).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { body: answer.into_body(), text: String::new() }
    }

    async fn next(&mut self) -> Option<(String, String, serde_json::Value)> {
        let end = loop {
            if let Some(end) = self.text.find("\n\n") {
                break end;
            }
            let frame = self.body.frame().await?.ok()?;
            self.text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        };
        let event: String = self.text.drain(..end + 2).collect();
        let field = |name: &str| {
            event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim_start().to_owned()
        };
        let data = field("data:");
        let data = serde_json::from_str(&data).unwrap_or(serde_json::Value::String(data));
        Some((field("event:"), field("id:"), data))
    }
}

#[tokio::test]
async fn first_the_board_then_each_change_once() {
    let server = Server::start(board(3));
    let mut reader = EventReader::open(&server).await;
    let (event, id, data) = reader.next().await.unwrap();
    assert_eq!((event.as_str(), id.as_str(), data["machines"].as_array().unwrap().len()), ("board", "7", 3));
    // An update that arrives late: the board already contains it.
    let known = Update::Forgotten { revision: 7, mac: mac(9) };
    server.fleet.show(server.fleet.board(), [known]);
    change(&server.fleet, bare(1, State::Failed));
    let (event, id, data) = reader.next().await.unwrap();
    assert_eq!((event.as_str(), id.as_str()), ("", "8"));
    assert_eq!((&data["kind"], &data["machine"]["state"]), (&"machine".into(), &"failed".into()));
    let updates = [Update::Step { step: step(3) }, Update::Lost { lost: vec![lost()] }];
    server.fleet.show(server.fleet.board(), updates);
    assert_eq!(reader.next().await.unwrap().2["step"]["id"], 3);
    assert_eq!(reader.next().await.unwrap().2["lost"][0]["what"], lost().what);
    server.stop().await;
    while reader.next().await.is_some() {}
}

#[tokio::test]
async fn who_falls_behind_is_told_to_read_the_board_again() {
    let server = Server::start(board(3));
    let mut reader = EventReader::open(&server).await;
    reader.next().await.unwrap();
    let forgotten = |revision| Update::Forgotten { revision, mac: mac(2) };
    server.fleet.show(server.fleet.board(), (8..8 + 2 * UPDATES_MAX as u64).map(forgotten));
    while reader.next().await.unwrap().0 != "reload" {}
    server.fleet.show(server.fleet.board(), [forgotten(100_000)]);
    assert_eq!(reader.next().await.unwrap().1, "100000", "and then it goes on");
}

#[tokio::test]
async fn viewers_are_bounded_and_their_places_are_given_back() {
    let server = Server::start(board(1));
    let mut readers = Vec::new();
    for _ in 0..VIEWERS_MAX {
        let mut reader = EventReader::open(&server).await;
        reader.next().await.unwrap();
        readers.push(reader);
    }
    let refused = server.ask(get("/api/v1/events")).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "2"));
    drop(readers);
    loop {
        let stream = UnixStream::connect(server.socket()).await.unwrap();
        if send(stream, get("/api/v1/events")).await.status() == 200 {
            break;
        }
        tokio::task::yield_now().await;
    }
    server.stop().await;
}

/// Every user of this host may read the board on loopback; the Unix socket is root's, and has its own limit.
#[tokio::test]
async fn viewers_over_tcp_take_no_place_from_the_unix_socket() {
    let server = Server::over(board(1), LOOPBACK, None);
    let mut readers = Vec::new();
    for _ in 0..VIEWERS_MAX {
        readers.push(EventReader::over(TcpStream::connect(server.board.unwrap()).await.unwrap()).await);
    }
    assert_eq!(server.ask_board(get("/api/v1/events")).await.status, 503);
    assert_eq!(EventReader::open(&server).await.next().await.unwrap().0, "board");
    drop(readers);
    server.stop().await;
}
