//! Clients that are malicious or broken.

use pxe_web::api::serve::CONNECTIONS_MAX;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::support::{Server, TOKEN, board, get};

const LOOPBACK: Option<&str> = Some("127.0.0.1:0");

/// Sends bytes, and reads the response until its end or 65536 bytes.
async fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(server.socket()).await.unwrap();
    // The server may close the connection before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = vec![];
    let _ = stream.take(65536).read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn heads_are_bounded() {
    let server = Server::start(board(1));
    let long = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    assert!(raw(&server, long.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let many = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: y\r\n".repeat(1000));
    assert!(raw(&server, many.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let path = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(100_000));
    assert!(raw(&server, path.as_bytes()).await.starts_with("HTTP/1.1 4"));
}

#[tokio::test]
async fn what_is_no_http_ends_the_connection_and_nothing_else() {
    let server = Server::start(board(1));
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01".as_slice(),
        b"\r\n\r\n\0\0\0\0\r\n",
        b"GET\r\n\r\n",
        &[0xff; 20_000],
    ] {
        let answer = raw(&server, bytes).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(server.ask(get("/healthz")).await.status, 200);
}

#[tokio::test]
async fn bodies_are_bounded_also_without_a_length() {
    let server = Server::start(board(1));
    let head = "POST /api/v1/feed/x HTTP/1.1\r\nhost: localhost\r\nx-pxed: 1\r\n";
    let claimed = format!("{head}content-length: 99999999999\r\n\r\nx");
    assert!(raw(&server, claimed.as_bytes()).await.starts_with("HTTP/1.1 413"));
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{}", chunk.repeat(8));
    assert!(raw(&server, chunked.as_bytes()).await.starts_with("HTTP/1.1 413"));
    let metrics = server.ask(get("/metrics")).await;
    assert!(
        metrics.text().contains("pxed_api_refused_total{reason=\"too_large\"} 1\n"),
        "{}",
        metrics.text()
    );
    // Two lengths that differ: request smuggling.
    let smuggled = format!("{head}content-length: 1\r\ncontent-length: 2\r\n\r\nxx");
    assert!(raw(&server, smuggled.as_bytes()).await.starts_with("HTTP/1.1 400"));
    assert!(server.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_floods_the_boards_address_does_not_shut_out_the_unix_socket() {
    let server = Server::over(board(1), LOOPBACK, Some(TOKEN));
    let address = server.board.unwrap();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        held.push(stream);
    }
    let mut more = TcpStream::connect(address).await.unwrap();
    let _ = more.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(more.read(&mut [0; 100]).await.unwrap_or(0), 0, "closed at once");
    let metrics = server.ask(get("/metrics")).await;
    assert!(metrics.text().contains("pxed_api_refused_total{reason=\"connections\"} 1\n"));
    assert!(metrics.text().contains("pxed_api_connections{listener=\"board\"} 256\n"));
    server.stop().await;
}

/// The time is simulated: it advances when no task can run.
#[tokio::test(start_paused = true)]
async fn slow_clients_lose_their_place() {
    let server = Server::start(board(1));
    for bytes in [
        "".to_owned(),
        "GET /healthz HTT".into(),
        "POST /api/v1/feed/x HTTP/1.1\r\nhost: localhost\r\nx-pxed: 1\r\ncontent-length: 10\r\n\r\nx".into(),
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".into(),
    ] {
        // Returns only when the server closes the connection.
        let answer = raw(&server, bytes.as_bytes()).await;
        let fits =
            answer.is_empty() || answer.starts_with("HTTP/1.1 408") || answer.starts_with("HTTP/1.1 200");
        assert!(fits, "{answer}");
    }
    server.stop().await;
}

/// A reader of a large board that accepts no bytes gets only what its socket's buffer holds.
#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let server = Server::start(board(4000));
    let size = serde_json::to_vec(&*server.fleet.board()).unwrap().len();
    for path in ["/api/v1/machines", "/api/v1/events"] {
        let mut stream = UnixStream::connect(server.socket()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        let mut got = Vec::new();
        let _ = stream.read_to_end(&mut got).await;
        assert!(got.starts_with(b"HTTP/1.1 200") && got.len() < size / 2, "{path}: {} of {size}", got.len());
    }
    server.stop().await;
}
