//! `pxed ingest` with real sockets, with a file that is rotated, and with a daemon that is away.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Server, board};

const WHO: &str = "rack00-node01";

/// A running `pxed ingest`.
struct Ingest {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Ingest {
    fn start(server: &Server, arguments: &[&str], input: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pxed"));
        command.arg("ingest").args(arguments).arg("--socket").arg(server.socket());
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// Waits for a line of its log that contains `words`.
    async fn said(&mut self, words: &str) -> String {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "it ended without saying {words}");
            tokio::task::yield_now().await;
        }
        line
    }

    /// The listening address, from its log.
    async fn address(&mut self) -> String {
        let line = self.said("address=").await;
        let address = line.split("address=").nth(1).unwrap();
        address.split_whitespace().next().unwrap().to_owned()
    }

    async fn stop(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        self.end().await;
    }

    async fn end(&mut self) {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        };
        assert!(status.success(), "{status}");
    }
}

async fn until(server: &Server, line: &str) {
    let line = format!("line {WHO} {line}");
    while !server.asked.lock().unwrap().contains(&line) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_tcp_connection_says_whose_it_is() {
    let server = Server::start(board(3));
    let mut ingest = Ingest::start(&server, &["--listen-tcp", "127.0.0.1:0"], "");
    let mut console = TcpStream::connect(ingest.address().await).unwrap();
    write!(console, "machine {WHO}\r\nMTLOG ev=tick\r\nhalf a ").unwrap();
    until(&server, "MTLOG ev=tick").await;
    console.write_all(b"line").unwrap();
    drop(console);
    until(&server, "half a line").await;
    ingest.stop().await;
}

#[tokio::test]
async fn datagrams_are_syslog() {
    let server = Server::start(board(3));
    let mut ingest = Ingest::start(&server, &["--listen-udp", "127.0.0.1:0"], "");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let datagram = format!("<13>Nov  4 02:00:00 {WHO} console: MTLOG ev=tick");
    socket.send_to(datagram.as_bytes(), ingest.address().await).unwrap();
    until(&server, "console: MTLOG ev=tick").await;
    ingest.stop().await;
}

#[tokio::test]
async fn a_file_is_followed_over_its_rotation() {
    let server = Server::start(board(3));
    let path = server.directory.path().join("console.log");
    std::fs::write(&path, "old\n").unwrap();
    let arguments = ["--machine", WHO, "--follow", "--file", path.to_str().unwrap()];
    let ingest = Ingest::start(&server, &arguments, "");
    // Append repeatedly, because nothing shows when the command has begun to follow the file.
    while server.asked.lock().unwrap().is_empty() {
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"new\n").unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    std::fs::rename(&path, server.directory.path().join("console.log.1")).unwrap();
    std::fs::write(&path, "rotated\n").unwrap();
    until(&server, "rotated").await;
    assert!(!server.asked.lock().unwrap().contains(&format!("line {WHO} old")));
    ingest.stop().await;
}

#[tokio::test]
async fn lines_wait_for_a_daemon_that_is_away() {
    let server = Server::start(board(3));
    let aside = server.directory.path().join("aside.sock");
    std::fs::rename(server.socket(), &aside).unwrap();
    let mut ingest = Ingest::start(&server, &["--machine", WHO], "one\ntwo\n");
    ingest.said("lines wait").await;
    std::fs::rename(&aside, server.socket()).unwrap();
    until(&server, "two").await;
    ingest.end().await;
    assert_eq!(*server.asked.lock().unwrap(), [format!("line {WHO} one"), format!("line {WHO} two")]);
}
