//! Access control: which requests each socket accepts.

use hyper::Request;

use crate::support::{Answer, Server, TOKEN, board, get, mac, post, put, request};

const LOOPBACK: Option<&str> = Some("127.0.0.1:0");

fn with<B>(mut request: Request<B>, name: &'static str, value: &str) -> Request<B> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

#[tokio::test]
async fn loopback_without_a_token_is_for_looking_and_for_localhost_only() {
    let server = Server::over(board(2), LOOPBACK, None);
    assert_eq!(server.ask_board(get("/api/v1/machines")).await.status, 200);
    let again = format!("/api/v1/machines/{}/again", mac(1));
    for write in
        [post(&again, ""), post("/api/v1/feed/rack00-node01", "x"), put("/api/v1/machines/x/name", "{}")]
    {
        assert_eq!(server.ask_board(write).await.status, 403);
    }
    assert_eq!(server.ask_board(post("/login", "{}")).await.status, 403);
    let rebound = with(get("/api/v1/machines"), "host", "board.evil.example");
    assert_eq!(server.ask_board(rebound).await.status, 403);
    assert!(server.asked.lock().unwrap().is_empty());
    // The Unix socket, which is root's, accepts writes.
    assert_eq!(server.ask(post(&again, "")).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn with_a_token_everything_needs_it_but_the_page_and_healthz() {
    let server = Server::over(board(2), LOOPBACK, Some(TOKEN));
    for path in
        ["/api/v1/machines", "/api/v1/events", "/metrics", "/readyz", "/api/v1/openapi.json", "/nothing"]
    {
        let answer = server.ask_board(get(path)).await;
        assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, "Bearer"), "{path}");
    }
    for path in ["/", "/app.js", "/fleet.js", "/style.css", "/healthz"] {
        assert_eq!(server.ask_board(get(path)).await.status, 200, "{path}");
    }
    assert_eq!(server.ask_board(get("/favicon.ico")).await.status, 204);
    let bearer = |value: &str| with(get("/api/v1/machines"), "authorization", value);
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer 0123456789abcdef0124",
        "Bearer 0123456789abcdef012",
        "Basic eDp5",
        TOKEN,
    ] {
        assert_eq!(server.ask_board(bearer(wrong)).await.status, 401, "{wrong}");
    }
    assert_eq!(server.ask_board(bearer(&format!("Bearer {TOKEN}"))).await.status, 200);
    assert_eq!(server.ask_board(bearer(&format!("bearer {TOKEN}"))).await.status, 200);
    let write = with(post("/api/v1/again", ""), "authorization", &format!("Bearer {TOKEN}"));
    assert_eq!(server.ask_board(write).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_browser_gets_a_session_that_is_not_the_token() {
    let server = Server::over(board(2), LOOPBACK, Some(TOKEN));
    let login = |token: &str| {
        let body = serde_json::json!({ "token": token }).to_string();
        request("POST", "/login").header("content-type", "application/json").body(body.into()).unwrap()
    };
    assert_eq!(server.ask_board(login("not the token, sorry")).await.status, 401);
    let answer: Answer = server.ask_board(login(TOKEN)).await;
    assert_eq!(answer.status, 204);
    let cookie = answer.header("set-cookie");
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict") && !cookie.contains(TOKEN), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let read = |cookie: &str| with(get("/api/v1/machines"), "cookie", cookie);
    assert_eq!(server.ask_board(read(&format!("other=1; {pair}"))).await.status, 200);
    assert_eq!(server.ask_board(read(&pair[..pair.len() - 1])).await.status, 401);
    assert_eq!(server.ask_board(read(&format!("pxed={TOKEN}"))).await.status, 401);
    // Each login begins another session. Another process with the same token knows none of them.
    let second: Answer = server.ask_board(login(TOKEN)).await;
    assert_ne!(second.header("set-cookie"), cookie);
    let other = Server::over(board(2), LOOPBACK, Some(TOKEN));
    assert_eq!(other.ask_board(read(pair)).await.status, 401);
    other.stop().await;
    // A form of another site cannot set a header that needs a CORS preflight.
    let form = |kind: &str| {
        let write = request("POST", "/api/v1/again").header("cookie", pair).header("content-type", kind);
        write.body("a=b".into()).unwrap()
    };
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "text/plain; application/json",
    ] {
        assert_eq!(server.ask_board(form(kind)).await.status, 403, "{kind}");
    }
    assert_eq!(server.ask_board(with(form("text/plain"), "x-pxed", "1")).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn beyond_loopback_another_host_name_is_fine_with_the_token() {
    let server = Server::over(board(2), Some("0.0.0.0:0"), Some(TOKEN));
    let read = with(get("/api/v1/machines"), "host", "boot.lab.example:8080");
    assert_eq!(server.ask_board(read.clone()).await.status, 401);
    let read = with(read, "authorization", &format!("Bearer {TOKEN}"));
    assert_eq!(server.ask_board(read).await.status, 200);
    server.stop().await;
}

/// A page of another site, or of another port of this host, can make a browser send requests and wait for the
/// responses. It cannot remove the browser's mark of their origin. Links to the dashboard work.
#[tokio::test]
async fn what_a_page_of_another_site_asks_is_refused() {
    let server = Server::over(board(2), LOOPBACK, None);
    for (site, path, status) in [
        ("cross-site", "/api/v1/machines", 403),
        ("same-site", "/api/v1/events", 403),
        ("cross-site", "/metrics", 403),
        ("nonsense", "/api/v1/summary", 403),
        ("same-origin", "/api/v1/machines", 200),
        ("none", "/api/v1/machines", 200),
        ("cross-site", "/", 200),
        ("same-site", "/style.css", 200),
    ] {
        let answer = server.ask_board(with(get(path), "sec-fetch-site", site)).await;
        assert_eq!(answer.status, status, "{site} {path}");
    }
    let metrics = server.ask(get("/metrics")).await;
    assert!(metrics.text().contains("pxed_api_refused_total{reason=\"site\"} 4\n"), "{}", metrics.text());
    server.stop().await;
}
