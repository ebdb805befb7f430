//! The catalogue over HTTP, served by a real server on loopback: the requests of UEFI HTTP boot, iPXE and GRUB, and the
//! events that the fleet gets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use pxe_content::boot::{Catalogue, Config, ImageSpec, Links, MachineFacts, ServedAt, Source};
use pxe_content::rules::Access;
use pxe_engine::clock::Clock;
use pxe_fleet::event::{Event, Transport};
use pxe_fleet::handle::{FleetHandle, Message};
use pxe_proto::mac::Mac;
use pxe_proto::tftp::send_session::TransferOutcome;
use pxe_web::api::Api;
use pxe_web::api::serve::{ConnectionLimits, serve_tcp};
use pxe_web::http::{Gate, Http};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc::Receiver;

const MAC: Mac = Mac([0x52, 0x54, 0, 0x99, 0, 0x12]);

struct Lab {
    address: SocketAddr,
    messages: Receiver<Message>,
    sent: Arc<AtomicU64>,
    catalogue: Arc<ArcSwap<Catalogue>>,
    access: Arc<ArcSwap<Access>>,
    dir: TempDir,
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

async fn lab() -> Lab {
    let dir = TempDir::new().unwrap();
    for (name, bytes) in [("pxelinux.0", vec![1]), ("boot.efi", content(300_000)), ("a b+c", content(10))] {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    std::fs::write(dir.path().join("empty"), []).unwrap();
    std::fs::write(dir.path().join("large"), content(30_000_000)).unwrap();
    let source = Source::Tree { root: dir.path().into(), links: Links::FollowAdministrators };
    let recipe = ImageSpec {
        name: "image".into(),
        ipxe: Some("#!ipxe\n# {{ mac }} at {{ http }}\n".into()),
        grub: Some("# {{ mac }} at {{ http }}\n".into()),
        ..ImageSpec::default()
    };
    let config = Config { source, image_specs: vec![recipe], memory: Some(64 << 20), ..Config::default() };
    let catalogue = Arc::new(ArcSwap::from_pointee(Catalogue::open(config).unwrap()));
    let (fleet, messages) = FleetHandle::new();
    let sent: Arc<AtomicU64> = Arc::default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let here = ServedAt { server: Ipv4Addr::new(10, 99, 0, 2), http: Some(8080) };
    let counts = Api::new(fleet.clone(), Arc::default()).counts().clone();
    let http =
        Http::new(Arc::clone(&catalogue), fleet, here, Arc::clone(&sent), Clock::start(), counts.clone());
    let access: Arc<ArcSwap<Access>> = Arc::default();
    let gate = Gate {
        access: Arc::clone(&access),
        neighbours: Arc::new(|_: Ipv4Addr| Some(MAC)),
        counts: counts.clone(),
    };
    tokio::spawn(serve_tcp(
        listener,
        gate.before(http.router()),
        counts,
        "machines",
        ConnectionLimits { all: 16, each: 4, beyond: 0 },
        std::future::pending(),
    ));
    Lab { address, messages, sent, catalogue, access, dir }
}

async fn ask(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{request}\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    let end = all.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    let text = String::from_utf8(all[..end].to_vec()).unwrap();
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    };
    Answer { status, headers: lines.map(header).collect(), body: all[end + 4..].to_vec() }
}

async fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path} HTTP/1.1")).await
}

impl Lab {
    async fn ask(&self, request: &str) -> Answer {
        ask(self.address, request).await
    }

    async fn get(&self, path: &str) -> Answer {
        get(self.address, path).await
    }

    /// Waits for the event of the next transfer's end.
    async fn fetched(&mut self) -> (String, TransferOutcome, u64) {
        loop {
            let Some(Message::Event(event)) = self.messages.recv().await else { continue };
            if let Event::Fetched { image, outcome, bytes, peer, .. } = event {
                assert_eq!(peer.transport, Transport::Http);
                return (image.name().to_string(), outcome, bytes);
            }
        }
    }
}

/// clients.md, section 1: HEAD, then GET. EDK2 chooses by the type how to start the file.
#[tokio::test]
async fn firmware_asks_for_the_size_and_then_for_all_of_it() {
    let mut lab = lab().await;
    let head = lab.ask("HEAD /boot.efi HTTP/1.1").await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("300000"), 0));
    let got = lab.get("/boot.efi").await;
    assert_eq!((got.status, got.header("content-type")), (200, Some("application/efi")));
    assert!(got.body == content(300_000));
    // A transfer is complete only when its last byte was acknowledged.
    assert_eq!(lab.fetched().await, ("boot.efi".to_owned(), TransferOutcome::Complete, 300_000));
    assert_eq!(lab.sent.load(Ordering::Relaxed), 300_000);
}

/// GRUB's http module looks for `Content-Length: ` case-sensitively, and waits half a minute if it finds none.
#[tokio::test]
async fn names_of_headers_are_written_as_grub_compares_them() {
    let lab = lab().await;
    let mut stream = TcpStream::connect(lab.address).await.unwrap();
    stream.write_all(b"GET /boot.efi HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let head = String::from_utf8_lossy(&answer[..answer.len() - 300_000]).into_owned();
    assert!(head.contains("\r\nContent-Length: 300000\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Type: application/efi\r\n"), "{head}");
}

#[tokio::test]
async fn parts_are_sent_as_asked() {
    let lab = lab().await;
    let ask = |range: &str| format!("GET /boot.efi HTTP/1.1\r\nRange: {range}");
    let part = lab.ask(&ask("bytes=100-199")).await;
    assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 100-199/300000")));
    assert!(part.body == content(300_000)[100..200]);
    let tail = lab.ask(&ask("bytes=-5")).await;
    assert_eq!((tail.status, tail.body.len(), tail.header("content-length")), (206, 5, Some("5")));
    let beyond = lab.ask(&ask("bytes=300000-")).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */300000")));
    let tag = part.header("etag").unwrap();
    let same = lab.ask(&format!("{}\r\nIf-Range: {tag}", ask("bytes=0-0"))).await;
    let other = lab.ask(&format!("{}\r\nIf-Range: \"x\"", ask("bytes=0-0"))).await;
    assert_eq!((same.status, other.status), (206, 200));
}

#[tokio::test]
async fn names_are_those_of_tftp_and_nothing_leads_out() {
    let mut lab = lab().await;
    assert_eq!(lab.get("/a%20b+c").await.body, content(10));
    assert_eq!(lab.get("//./pxelinux.0").await.body, [1]);
    let empty = lab.get("/empty").await;
    assert_eq!((empty.status, empty.header("content-length"), empty.body.len()), (200, Some("0"), 0));
    for (path, status) in [
        ("/", 404),
        ("/absent", 404),
        ("/../etc/passwd", 403),
        ("/%2e%2e/etc/passwd", 403),
        ("/..%5c..%5cetc/passwd", 403),
        ("/pxelinux.0%00.efi", 403),
        ("/pxed/52-54-00-99-00-99/boot.ipxe", 404),
    ] {
        // A file that is written for a machine needs the fleet's answer about the machine. Here the fleet knows none.
        let answer = tokio::select! {
            answer = get(lab.address, path) => answer,
            () = refuse_facts(&mut lab.messages) => unreachable!("it answers for ever"),
        };
        assert_eq!((answer.status, answer.header("location")), (status, None), "{path}");
    }
    let posted = lab.ask("POST /boot.efi HTTP/1.1\r\nContent-Length: 0").await;
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")));
}

async fn refuse_facts(messages: &mut Receiver<Message>) {
    while let Some(message) = messages.recv().await {
        if let Message::Facts(_, answer) = message {
            let _ = answer.send(None);
        }
    }
    std::future::pending().await
}

#[tokio::test]
async fn a_machine_gets_the_text_that_is_written_for_it() {
    let mut lab = lab().await;
    let serve = async {
        loop {
            let Some(Message::Facts(inquiry, answer)) = lab.messages.recv().await else { continue };
            assert_eq!(
                *inquiry.peer.address.ip(),
                Ipv4Addr::LOCALHOST,
                "whose address that is, the fleet finds out"
            );
            assert!(inquiry.named.is_none_or(|named| named == MAC));
            let facts = MachineFacts { image: Some("image".into()), ..MachineFacts::unknown(MAC) };
            answer.send(Some(facts)).unwrap();
        }
    };
    let address = lab.address;
    let ask = async {
        let by_name = get(address, "/pxed/52-54-00-99-00-12/boot.ipxe").await;
        assert_eq!(get(address, "/autoexec.ipxe").await.status, 404);
        (by_name, get(address, "/grub/grub.cfg").await)
    };
    let (by_name, by_address) = tokio::select! {
        answers = ask => answers,
        () = serve => unreachable!("it answers for ever"),
    };
    let expected = "# 52:54:00:99:00:12 at http://10.99.0.2:8080\n";
    assert_eq!(by_name.header("cache-control"), Some("no-cache"));
    assert_eq!(String::from_utf8(by_name.body).unwrap(), format!("#!ipxe\n{expected}"));
    assert_eq!(String::from_utf8(by_address.body).unwrap(), expected);
}

/// A transfer delivers the old content if the file is replaced meanwhile.
#[tokio::test]
async fn what_is_on_its_way_does_not_change() {
    let lab = lab().await;
    let mut stream = TcpStream::connect(lab.address).await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut first = vec![0; 1000];
    stream.read_exact(&mut first).await.unwrap();
    std::fs::write(lab.dir.path().join("large"), b"new").unwrap();
    lab.catalogue.load().changed();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(&content(30_000_000)[29_000_000..]));
    assert_eq!(lab.get("/large").await.body, b"new");
}

#[tokio::test]
async fn who_breaks_off_has_not_booted() {
    let mut lab = lab().await;
    let mut stream = TcpStream::connect(lab.address).await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 1000]).await.unwrap();
    drop(stream);
    let (name, outcome, bytes) = lab.fetched().await;
    assert_eq!(name, "large");
    assert!(matches!(outcome, TransferOutcome::Aborted(_)) && bytes < 30_000_000, "{outcome:?} {bytes}");
}

/// The whole body was handed to the connection, but bytes in the kernel's buffers have not arrived.
#[tokio::test]
async fn who_resets_before_the_last_bytes_were_sent_has_not_booted() {
    let mut lab = lab().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(lab.address).await.unwrap();
    stream.write_all(b"GET /boot.efi HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 1000]).await.unwrap();
    while lab.sent.load(Ordering::Relaxed) < 300_000 {
        tokio::task::yield_now().await;
    }
    // The kernel resets a connection that is closed with unread bytes.
    drop(stream);
    assert_eq!(lab.fetched().await, ("boot.efi".into(), TransferOutcome::TimedOut, 300_000));
}

/// On a connection with several requests, as iPXE's, bytes of the next response are always in flight.
#[tokio::test]
async fn a_file_is_told_when_it_has_arrived_and_not_when_the_connection_is_silent() {
    let mut lab = lab().await;
    let mut stream = TcpStream::connect(lab.address).await.unwrap();
    let requests = b"GET /boot.efi HTTP/1.1\r\nHost: x\r\n\r\nGET /large HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(requests).await.unwrap();
    // The client does not read the second response to its end.
    stream.read_exact(&mut vec![0; 10_000_000]).await.unwrap();
    assert_eq!(lab.fetched().await, ("boot.efi".into(), TransferOutcome::Complete, 300_000));
}

/// If the fleet does not answer, pxed does not know whether the file exists: 503, not 404.
#[tokio::test]
async fn a_file_that_the_fleet_must_be_asked_for_is_refused_for_now() {
    let lab = lab().await;
    assert_eq!(lab.get("/pxed/52-54-00-99-00-12/boot.ipxe").await.status, 503);
}

/// `[access]` applies to every path and method, and a change applies from the next request on.
#[tokio::test]
async fn who_is_not_on_the_list_is_told_so_and_nothing_else() {
    let lab = lab().await;
    assert_eq!(lab.get("/pxelinux.0").await.status, 200);
    let only = |text: &str| lab.access.store(Arc::new(Access::only(vec![text.parse().unwrap()])));
    only("52:54:01:*");
    for path in ["/pxelinux.0", "/absent", "/../etc/passwd"] {
        let answer = lab.get(path).await;
        assert_eq!((answer.status, answer.header("etag")), (403, None), "{path}");
        assert!(answer.body.starts_with(b"[access] does not allow this machine"), "{path}");
    }
    for method in ["HEAD", "POST", "DELETE"] {
        assert_eq!(lab.ask(&format!("{method} /pxelinux.0 HTTP/1.1")).await.status, 403, "{method}");
    }
    only("52:54:00:*");
    assert_eq!(lab.get("/pxelinux.0").await.status, 200, "by its Ethernet address");
    only("127.0.0.0/8");
    assert_eq!(lab.get("/pxelinux.0").await.status, 200, "by its network");
}

/// The limits of requests also apply on the machines' network.
#[tokio::test]
async fn heads_of_requests_are_bounded() {
    let lab = lab().await;
    let long = format!("GET /pxelinux.0 HTTP/1.1\r\nx: {}", "x".repeat(100_000));
    for head in [long, format!("GET /{} HTTP/1.1", "x".repeat(100_000))] {
        let mut stream = TcpStream::connect(lab.address).await.unwrap();
        // The server may close the connection before it has read everything.
        let _ = stream.write_all(format!("{head}\r\nHost: x\r\n\r\n").as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    assert_eq!(lab.get("/pxelinux.0").await.status, 200);
}

/// One machine cannot use up all connections.
#[tokio::test]
async fn one_address_has_only_so_many_connections() {
    let lab = lab().await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(lab.address).await.unwrap();
        stream.write_all(b"GET /pxelinux.0 HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 16]).await.unwrap();
        held.push(stream);
    }
    let mut fifth = TcpStream::connect(lab.address).await.unwrap();
    // The connection is closed without a response, or reset.
    assert!(
        fifth.read(&mut [0; 1]).await.is_ok_and(|len| len == 0) || fifth.write_all(b"GET").await.is_err()
    );
    drop(held);
    while get_or_closed(lab.address).await.is_none() {
        tokio::task::yield_now().await;
    }
}

/// The first digit of the status; `None` if the connection is not accepted.
async fn get_or_closed(address: SocketAddr) -> Option<u8> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(b"HEAD /pxelinux.0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    answer.get(9).copied()
}
