//! A server on real sockets, a client, and a task that answers for the fleet from a board.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use pxe_engine::gauges::{Gauges, InterfaceGauges, SegmentGauges};
use pxe_fleet::board::{
    Board, Boot, Dimm, Lost, Machine, MemoryError, Progress, Responder, State, Step, Story, TestOutcome,
    UnixMs, Update, Verdict,
};
use pxe_fleet::claim::{Claim, ClaimRefusal};
use pxe_fleet::handle::{FleetHandle, MachineSelector, Message, NameError};
use pxe_proto::mac::Mac;
use pxe_web::api::access::Token;
use pxe_web::api::{Api, Listeners, serve};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub(crate) const TOKEN: &str = "0123456789abcdef0123";

/// The messages that the fleet got, as text.
pub(crate) type Asked = Arc<Mutex<Vec<String>>>;

/// A running server with its state.
pub(crate) struct Server {
    pub(crate) directory: TempDir,
    pub(crate) fleet: FleetHandle,
    pub(crate) gauges: Arc<ArcSwap<Gauges>>,
    pub(crate) api: Api,
    pub(crate) asked: Asked,
    pub(crate) board: Option<SocketAddr>,
    end: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    /// Serves a board on a Unix socket only.
    pub(crate) fn start(board: Board) -> Self {
        Self::over(board, None, None)
    }

    /// Serves a board on a Unix socket and, if `tcp` is given, on that address.
    pub(crate) fn over(board: Board, tcp: Option<&str>, token: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (fleet, messages) = FleetHandle::new();
        fleet.show(Arc::new(board), []);
        let asked = Asked::default();
        tokio::spawn(answer(fleet.clone(), messages, Arc::clone(&asked)));
        let gauges = Arc::new(ArcSwap::from_pointee(gauges()));
        let api = Api::new(fleet.clone(), Arc::clone(&gauges));
        let token = token.map(|token| Arc::new(Token::new(token).unwrap()));
        let tcp = tcp.map(|address| address.parse().unwrap());
        let listeners = Listeners::bind(&directory.path().join("pxed.sock"), tcp, token).unwrap();
        let board = listeners.board();
        let (end, ended) = oneshot::channel::<()>();
        let ended = async {
            let _ = ended.await;
        };
        let serving = Some(tokio::spawn(serve(api.clone(), listeners, ended)));
        Self { directory, fleet, gauges, api, asked, board, end: Some(end), serving }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("pxed.sock")
    }

    /// Sends a request over the Unix socket.
    pub(crate) async fn ask(&self, request: Request<Full<Bytes>>) -> Answer {
        ask(UnixStream::connect(self.socket()).await.unwrap(), request).await
    }

    /// Sends a request over TCP.
    pub(crate) async fn ask_board(&self, request: Request<Full<Bytes>>) -> Answer {
        ask(TcpStream::connect(self.board.unwrap()).await.unwrap(), request).await
    }

    pub(crate) async fn stop(mut self) {
        drop(self.end.take());
        self.serving.take().unwrap().await.unwrap().unwrap();
    }
}

/// A response with its whole body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    request("GET", path).body(Full::default()).unwrap()
}

pub(crate) fn post(path: &str, body: &str) -> Request<Full<Bytes>> {
    request("POST", path).header("x-pxed", "1").body(body.to_owned().into()).unwrap()
}

pub(crate) fn put(path: &str, body: &str) -> Request<Full<Bytes>> {
    let request = request("PUT", path).header("content-type", "application/json");
    request.body(body.to_owned().into()).unwrap()
}

pub(crate) fn request(method: &str, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "localhost")
}

pub(crate) async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Response<Incoming> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}

pub(crate) async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Answer {
    let (head, body) = send(stream, request).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: head.status, headers: head.headers, body }
}

/// Answers messages as the fleet's thread does, from the board that is shown.
async fn answer(fleet: FleetHandle, mut messages: mpsc::Receiver<Message>, asked: Asked) {
    let note = |text: String| asked.lock().unwrap().push(text);
    while let Some(message) = messages.recv().await {
        let board = fleet.board();
        let find = |mac: Mac| {
            board.machines.iter().find(|machine| machine.mac == mac.to_string()).map(|card| (**card).clone())
        };
        match message {
            Message::Story(mac, answer) => {
                let _ = answer.send(find(mac).map(story));
            }
            Message::Boots(mac, answer) => {
                let boots = find(mac).map(story).map(|story| story.boots);
                let _ = answer.send(boots.unwrap_or_default());
            }
            Message::Steps(after, limit, answer) => {
                let steps = (after.saturating_add(1)..=10).map(step).take(limit);
                let _ = answer.send(steps.collect());
            }
            Message::Again(mac, answer) => {
                note(format!("again {mac:?}"));
                let count = mac.map_or(board.machines.len(), |mac| find(mac).into_iter().count());
                let _ = answer.send(count);
            }
            Message::Find(MachineSelector::Text(words), answer) => {
                let found = board.machines.iter().find(|machine| machine.name.as_deref() == Some(&words));
                let _ = answer.send(found.and_then(|machine| machine.mac.parse().ok()));
            }
            Message::Name(mac, name, answer) => {
                note(format!("name {mac} {name:?}"));
                let taken =
                    board.machines.iter().find(|machine| machine.name.is_some() && machine.name == name);
                let _ = answer.send(match taken.map(|machine| machine.mac.parse().unwrap()) {
                    Some(other) if other != mac => Err(NameError::Taken(other)),
                    _ if find(mac).is_none() && name.is_none() => Err(NameError::Unknown),
                    _ => Ok(()),
                });
            }
            Message::Lines(MachineSelector::Text(who), lines, answer) => {
                let known = board.machines.iter().any(|machine| machine.name.as_deref() == Some(&who));
                let count = known.then(|| lines.iter().filter(|line| line.contains("MTLOG ")).count());
                lines.iter().for_each(|line| note(format!("line {who} {line}")));
                let _ = answer.send(count);
            }
            Message::Report(claim, report, answer) => {
                let believed = judge(&claim, find(claim.mac).is_some());
                if believed.is_ok() {
                    note(format!("report {} {:?}", claim.mac, report.stage));
                }
                let _ = answer.send(believed);
            }
            Message::Admit(claim, answer) => {
                let _ = answer.send(judge(&claim, find(claim.mac).is_some()));
            }
            Message::Uploaded(mac, name, size) => note(format!("uploaded {mac} {name} {size}")),
            other => panic!("nobody asks the API's fleet this: {other:?}"),
        }
    }
}

/// The nonce of every machine's present boot.
pub(crate) const NONCE: &str = "1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b";

fn judge(claim: &Claim, known: bool) -> Result<(), ClaimRefusal> {
    if !known {
        Err(ClaimRefusal::Unknown)
    } else if claim.neighbour.is_some_and(|neighbour| neighbour != claim.mac) {
        Err(ClaimRefusal::Sender)
    } else if claim.nonce != NONCE.parse().ok() {
        Err(ClaimRefusal::Nonce)
    } else {
        Ok(())
    }
}

pub(crate) fn story(machine: Machine) -> Story {
    let newest = Boot { at: UnixMs(5), offer_ms: None, load_ms: None, ..Boot::default() };
    let older = Boot {
        at: UnixMs(1),
        offer_ms: Some(1500),
        load_ms: Some(7000),
        bytes: 145_408,
        retransmits: 2,
        outcome: Some("running".into()),
    };
    Story { machine, boots: vec![newest, older], steps: vec![step(2), step(1)] }
}

pub(crate) fn step(id: u64) -> Step {
    let facts = serde_json::json!({ "file": "memtest86+x64.efi", "bytes": 145_408 });
    let serde_json::Value::Object(facts) = facts else { unreachable!() };
    Step {
        id,
        at: UnixMs(1_700_000_000_000 + id),
        mac: mac(0),
        event: "fetched".into(),
        text: "fetched a file".into(),
        facts,
    }
}

pub(crate) fn mac(index: usize) -> String {
    format!("02:00:00:00:{:02x}:{:02x}", index / 256, index % 256)
}

/// A machine with required facts only.
pub(crate) fn bare(index: usize, state: State) -> Machine {
    Machine {
        mac: mac(index),
        name: None,
        uuid: None,
        serial: None,
        address: None,
        arch: None,
        firmware: None,
        relay: None,
        vlan: None,
        interface: None,
        responder: None,
        state,
        since: UnixMs(1_700_000_000_000),
        why: None,
        rule: None,
        image: None,
        progress: None,
        boots: 0,
        completed: 0,
        retransmits: 0,
        first_seen: UnixMs(1_700_000_000_000),
        last_seen: UnixMs(1_700_000_000_000),
        verdict: None,
        dimms: vec![],
    }
}

/// A machine with all facts.
pub(crate) fn full(index: usize, state: State) -> Machine {
    let error = MemoryError {
        at: UnixMs(1_700_000_050_000),
        address: Some("0x12345678".into()),
        expected: Some("0xffffffff".into()),
        actual: Some("0xfffffffe".into()),
        cpu: Some(3),
        dimm: Some("DIMM_A1".into()),
        count: 2,
    };
    let dimm = Dimm {
        slot: "DIMM_A1".into(),
        size: 16 << 30,
        kind: Some("DDR4".into()),
        speed: Some(3200),
        manufacturer: Some("Samsung".into()),
        part: Some("M393A2K43DB3".into()),
        serial: Some("1234ABCD".into()),
    };
    Machine {
        name: Some(format!("rack{:02}-node{:02}", index / 40, index % 40)),
        uuid: Some("12345678-1234-1234-1234-123456789abc".into()),
        serial: Some(format!("SN{index:06}")),
        address: Some(format!("10.1.{}.{}", index / 250, index % 250 + 1)),
        arch: Some("x64".into()),
        firmware: Some("PXEClient:Arch:00007:UNDI:003001".into()),
        relay: Some("10.1.0.1".into()),
        vlan: Some(42),
        interface: Some("eth0".into()),
        why: Some("1 error at 0x12345678 (DIMM_A1)".into()),
        rule: Some("lab".into()),
        image: Some("memtest".into()),
        progress: Some(Progress {
            file: "memtest86+x64.efi".into(),
            bytes: 72_704,
            size: 145_408,
            bytes_per_s: 1 << 20,
        }),
        boots: 3,
        completed: 2,
        retransmits: 5,
        verdict: Some(Verdict {
            outcome: if state == State::Failed { TestOutcome::Fail } else { TestOutcome::Testing },
            source: "memtest86+".into(),
            started: UnixMs(1_700_000_010_000),
            heard: UnixMs(1_700_000_060_000),
            passes: 1,
            percent: Some(37),
            memory: Some(64 << 30),
            errors: 2,
            first_errors: vec![error],
            corrected: Some(1),
            uncorrected: Some(0),
        }),
        dimms: vec![dimm; 2],
        ..bare(index, state)
    }
}

/// A board of this many machines, in all states.
pub(crate) fn board(machines: usize) -> Board {
    let machines = (0..machines).map(|index| full(index, State::ALL[index % 10]).into()).collect();
    Board { at: UnixMs(1_700_000_100_000), revision: 7, machines, ..Board::default() }
}

pub(crate) fn responder() -> Responder {
    Responder {
        name: "rack-2".into(),
        own: false,
        host: "host-2".into(),
        alive: false,
        seen: Some(UnixMs(1_700_000_000_000)),
        segment: Some("lab".into()),
        version: Some("1.0.0".into()),
        waiting: 3,
        rules: Some("0123456789abcdef".into()),
    }
}

pub(crate) fn lost() -> Lost {
    Lost { what: "the database is full: make room on its disk".into(), since: UnixMs(1_700_000_000_000) }
}

/// Publishes a changed machine in the fleet's order: first the board, then the update.
pub(crate) fn change(fleet: &FleetHandle, machine: Machine) {
    let mut board = (*fleet.board()).clone();
    board.revision += 1;
    let revision = board.revision;
    let before = board.machines.iter().find(|known| known.mac == machine.mac).cloned();
    before.iter().for_each(|before| board.machines.remove(before));
    board.machines.insert(machine.clone().into());
    fleet.show(Arc::new(board), [Update::Machine { revision, machine: machine.into() }]);
}

pub(crate) fn gauges() -> Gauges {
    let interface = InterfaceGauges {
        name: "eth\"0\\".into(),
        address: Some("10.1.0.2".parse().unwrap()),
        datapath: "xdp",
        mode: "native",
        offload: "xdp, tcx",
        queues: 4,
        counters: vec![
            ("tftp_data_bytes", 1_000_000),
            ("tftp_data_packets", 1000),
            ("tftp_data_repeated", 3),
            ("tftp_complete", 8),
            ("socket_ring_full", 0),
            ("socket_fill_ring_empty", 0),
            ("socket_dropped", 0),
        ],
        kernel: vec![("pass_not_ipv4", 12), ("redirect_dhcp", 4)],
        transfers: 2,
        waiting: 1,
        offload_bytes: 4096,
    };
    let segment = SegmentGauges { name: "lab".into(), ..SegmentGauges::default() };
    Gauges {
        interfaces: vec![interface],
        ready: true,
        image_bytes: 300_000,
        responder: Some("rack-1".into()),
        segment: Some(segment),
        foreign_proxies: Some("another proxyDHCP server: 10.1.0.7".into()),
        ..Gauges::default()
    }
}
