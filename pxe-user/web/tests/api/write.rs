//! Requests that change something.

use crate::support::{Server, board, mac, post, put};

#[tokio::test]
async fn machines_boot_again_and_get_names() {
    let server = Server::start(board(3));
    let one = server.ask(post(&format!("/api/v1/machines/{}/again", mac(1)), "")).await;
    assert_eq!(one.json()["machines"], 1);
    assert_eq!(server.ask(post("/api/v1/again", "")).await.json()["machines"], 3);
    assert_eq!(server.ask(post("/api/v1/machines/02:ff:ff:ff:ff:ff/again", "")).await.status, 404);
    let name = |machine: usize, body: &str| put(&format!("/api/v1/machines/{}/name", mac(machine)), body);
    assert_eq!(server.ask(name(2, r#"{"name":"node 7"}"#)).await.status, 204);
    assert_eq!(server.ask(name(2, r#"{"name":null}"#)).await.status, 204);
    assert_eq!(server.ask(name(9, r#"{"name":null}"#)).await.status, 404);
    assert_eq!(server.ask(name(9, r#"{"name":"x"}"#)).await.status, 204, "not seen yet");
    let taken = server.ask(name(2, r#"{"name":"rack00-node01"}"#)).await;
    assert_eq!(taken.status, 409, "names are unique: {taken:?}");
    // A name is accepted in place of the Ethernet address.
    let by_name = server.ask(post("/api/v1/machines/rack00-node01/again", "")).await;
    assert_eq!(by_name.json()["machines"], 1);
    assert_eq!(server.ask(post("/api/v1/machines/nobody/again", "")).await.status, 404);
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(65));
    for wrong in [
        r#"{"name":""}"#,
        r#"{"name":"\u001b[2J"}"#,
        r#"{"name":7}"#,
        r#"{"name":"10.0.0.1"}"#,
        r#"{"name":"02:00:00:00:00:01"}"#,
        r#"{"nome":"x"}"#,
        "x",
        &long,
    ] {
        assert!(server.ask(name(2, wrong)).await.status.is_client_error(), "{wrong}");
    }
    let asked = server.asked.lock().unwrap().clone();
    let expected = [
        format!("again Some({})", mac(1)),
        "again None".into(),
        "again Some(02:ff:ff:ff:ff:ff)".into(),
        format!("name {} Some(\"node 7\")", mac(2)),
        format!("name {} None", mac(2)),
        format!("name {} None", mac(9)),
        format!("name {} Some(\"x\")", mac(9)),
        format!("name {} Some(\"rack00-node01\")", mac(2)),
        format!("again Some({})", mac(1)),
    ];
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn lines_of_a_console_reach_the_fleet_whatever_is_in_them() {
    let server = Server::start(board(3));
    let body = b"noise \xff\x00\n\nMTLOG ts=1 ev=tick\r\nlast without an end";
    let request = crate::support::request("POST", "/api/v1/feed/rack00-node01").header("x-pxed", "1");
    let request = request.body(bytes::Bytes::from_static(body).into()).unwrap();
    let answer = server.ask(request).await.json();
    assert_eq!((&answer["lines"], &answer["test_lines"]), (&3.into(), &1.into()));
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked[1], "line rack00-node01 MTLOG ts=1 ev=tick\r");
    assert_eq!(server.ask(post("/api/v1/feed/nobody", "a line")).await.status, 404);
    assert_eq!(server.ask(post("/api/v1/feed/%20", "a line")).await.status, 400);
    assert_eq!(server.ask(post("/api/v1/feed/x", &"a".repeat(300_000))).await.status, 413);
}
