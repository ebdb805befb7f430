//! Commands against an API on a real socket.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use pxe_fleet::board::Board;

use crate::support::{Server, board, mac};

async fn pxed(server: &Server, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pxed"));
    command.args(arguments).arg("--socket").arg(server.socket());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let run = move || {
        let mut child = command.spawn().unwrap();
        // A command that ends before it has read its input gives the reason on standard error.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn status_as_json_is_the_board_and_as_text_a_table() {
    let server = Server::start(board(12));
    let json = pxed(&server, &["status", "--json"], "").await;
    let read: Board = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(read, *server.fleet.board());
    let table = pxed(&server, &["status"], "").await;
    let lines: Vec<_> = text(&table.stdout).lines().collect();
    assert_eq!(lines.len(), 16, "{lines:#?}");
    assert_eq!(lines[..2], ["segment lab: ", "another proxyDHCP server: 10.1.0.7"]);
    assert!(lines[2].starts_with("12 machines  2 failed"));
    assert!(lines[4].starts_with("failed    rack00-node00"), "{}", lines[4]);
    assert!(!text(&table.stdout).contains('\u{1b}'), "no colour in a pipe");
    let watch = pxed(&server, &["status", "--watch"], "").await;
    assert!(text(&watch.stderr).contains("--watch needs a terminal"));
}

#[tokio::test]
async fn a_daemon_that_is_away_is_said() {
    let server = Server::start(board(1));
    std::fs::remove_file(server.socket()).unwrap();
    let status = pxed(&server, &["status"], "").await;
    assert!(!status.status.success());
    assert!(text(&status.stderr).contains("Start `pxed serve`"), "{}", text(&status.stderr));
}

#[tokio::test]
async fn machines_boot_again() {
    let server = Server::start(board(5));
    let one = pxed(&server, &["again", &mac(3)], "").await;
    assert_eq!(text(&one.stdout), "1 machine(s) boot by their rules from the beginning again\n");
    assert_eq!(
        text(&pxed(&server, &["again", "all"], "").await.stdout),
        "5 machine(s) boot by their rules from the beginning again\n"
    );
    let unknown = pxed(&server, &["again", "02:ff:ff:ff:ff:ff"], "").await;
    assert!(text(&unknown.stderr).contains("no such machine"));
    assert!(!pxed(&server, &["again"], "").await.status.success(), "never all by accident");
    let by_name = pxed(&server, &["retry", "rack00-node02"], "").await;
    assert_eq!(text(&by_name.stdout), "1 machine(s) boot by their rules from the beginning again\n");
}

#[tokio::test]
async fn machines_are_named_one_by_one_or_from_a_file() {
    let server = Server::start(board(5));
    assert!(pxed(&server, &["name", &mac(3), "left of the door"], "").await.status.success());
    assert!(pxed(&server, &["name", "rack00-node02", "--remove"], "").await.status.success());
    let taken = pxed(&server, &["name", &mac(3), "rack00-node01"], "").await;
    assert!(text(&taken.stderr).contains(&format!("{} has that name", mac(1))), "{}", text(&taken.stderr));
    let lines = format!("# shelf\n02:ff:00:00:00:01 spare\n{} rack00-node01\n", mac(4));
    let all = pxed(&server, &["name", "--file", "-"], &lines).await;
    assert_eq!((text(&all.stdout), all.status.code()), ("1 machine(s) named\n", Some(1)));
    let asked = server.asked.lock().unwrap().clone();
    let expected = [
        format!("name {} Some(\"left of the door\")", mac(3)),
        format!("name {} None", mac(2)),
        format!("name {} Some(\"rack00-node01\")", mac(3)),
        "name 02:ff:00:00:00:01 Some(\"spare\")".into(),
        format!("name {} Some(\"rack00-node01\")", mac(4)),
    ];
    assert_eq!(asked, expected);
    for wrong in
        [&["name"][..], &["name", "x"], &["name", "x", "y", "--remove"], &["name", "--file", "-", "x"]]
    {
        assert_eq!(pxed(&server, wrong, "").await.status.code(), Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn lines_are_fed_by_name_and_strangers_are_said_once() {
    let server = Server::start(board(5));
    let input = "[rack00-node01] MTLOG ts=1 ev=start\n[nobody] x\nno name\n[rack00-node02] y\r\n[nobody] z\n[rack00-node01] last";
    let fed = pxed(&server, &["ingest", "--name-from", "conserver"], input).await;
    assert!(fed.status.success(), "{}", text(&fed.stderr));
    let mut asked = server.asked.lock().unwrap().clone();
    asked.retain(|line| !line.contains("nobody"));
    asked.sort();
    let expected =
        ["line rack00-node01 MTLOG ts=1 ev=start", "line rack00-node01 last", "line rack00-node02 y"];
    assert_eq!(asked, expected);
    assert_eq!(text(&fed.stderr).matches("dropped until pxed knows the machine").count(), 1);
    assert_eq!(text(&fed.stderr).matches("no machine's name was found").count(), 1);
    let whose = pxed(&server, &["ingest"], "x").await;
    assert!(text(&whose.stderr).contains("--machine WHO"));
}

#[tokio::test]
async fn a_file_is_fed_whole() {
    let server = Server::start(board(2));
    let path = server.directory.path().join("console.log");
    std::fs::write(&path, "one\ntwo\n").unwrap();
    let arguments = ["ingest", "--machine", "rack00-node01", "--file", path.to_str().unwrap()];
    assert!(pxed(&server, &arguments, "").await.status.success());
    assert_eq!(*server.asked.lock().unwrap(), ["line rack00-node01 one", "line rack00-node01 two"]);
}
