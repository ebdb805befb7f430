//! HTTP clients: connections that ask for one file again and again, each from an address of its own if wanted.
//!
//! Each answer must be 200 with the file's length. Of one connection in [`SAMPLE`] every byte is compared, of the others the
//! length is. A connection that ends in the middle counts as failed, and another takes its place.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use pxe_kit::figures::percentiles;
use pxe_nic::xsk::Statistics;
use pxe_proto::time::Timestamp;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::report::{Effort, Report};
use crate::clock::Clock;

/// Of one of so many connections every byte is compared.
const SAMPLE: u32 = 16;
/// What one call reads at most.
pub(super) const BUFFER: usize = 256 * 1024;
/// Reads of one connection before others have their turn; the rest is read in the next turn.
const TURNS: usize = 4;
/// An answer's head is shorter.
const HEAD_MAX: usize = 4096;
/// Failures after which a run ends: a server that refuses everything would keep it busy for nothing.
const FAILURES_MAX: u64 = 100_000;
const SLEEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Who loads what from where.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where the server listens.
    pub server: SocketAddrV4,
    /// The file's path there.
    pub path: String,
    /// Its bytes.
    pub file: Vec<u8>,
    /// Connections at a time.
    pub connections: u32,
    /// The first client's address; the host must have it and those of the others.
    pub from: Ipv4Addr,
    /// All connections come from the first address.
    pub from_one: bool,
}

impl Client {
    /// The file's URL, as pxed's offer names it, with the port.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{}", self.server, self.path)
    }

    fn request(&self, method: &str) -> String {
        format!("{method} {} HTTP/1.1\r\nHost: {}\r\n\r\n", self.path, self.server.ip())
    }
}

/// A run of connections that load the file again and again.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who loads what from where.
    pub client: Client,
    /// How long.
    pub time: Duration,
}

/// What came of a step of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// Nothing more to read now.
    Waits,
    /// More may be there.
    Reads,
    /// A whole file.
    Done,
    /// It ended early, or the answer is another than 200.
    Failed,
    /// Wrong bytes, or a wrong length.
    Wrong,
}

/// One connection, with the answer that it reads.
pub(super) struct Connection {
    stream: TcpStream,
    index: u32,
    asked: bool,
    /// The next answer is that to a HEAD, which has no body.
    heads: bool,
    began: Timestamp,
    head: Vec<u8>,
    /// Bytes of the file that are there; none while the head is not whole.
    at: Option<usize>,
}

/// Runs the plan.
///
/// # Errors
/// When sockets cannot be had.
pub fn run(plan: &Plan) -> Result<Report> {
    let client = &plan.client;
    ensure!(!client.file.is_empty(), "an empty file says nothing");
    let waiting = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let clock = Clock::start();
    let mut effort = Effort::start(clock.now());
    let mut connections = BTreeMap::new();
    for index in 0..client.connections {
        connections.insert(index, Connection::open(client, index, clock.now(), &waiting)?);
    }
    let (mut report, mut times) = (Report { kind: "http".into(), ..Report::default() }, Vec::new());
    let mut buffer = vec![0; BUFFER];
    let mut events = Vec::with_capacity(1024);
    while clock.now().since(Timestamp::default()) < plan.time && report.failed < FAILURES_MAX {
        events.clear();
        match epoll::wait(&waiting, rustix::buffer::spare_capacity(&mut events), Some(&SLEEP)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for connections"),
        }
        effort.turn(clock.now(), events.len() as u64);
        for event in &events {
            let index = event.data.u64() as u32;
            let Some(connection) = connections.get_mut(&index) else { continue };
            let before = connection.at.unwrap_or(0);
            let mut outcome = connection.turn(client, &mut buffer, &waiting)?;
            report.bytes += connection.at.unwrap_or(0).saturating_sub(before) as u64;
            if outcome == ReadOutcome::Done {
                report.done += 1;
                times.push(clock.now().since(connection.began).as_secs_f64());
                connection.again(clock.now());
                outcome = connection.ask(&client.request("GET"));
            }
            if let ReadOutcome::Failed | ReadOutcome::Wrong = outcome {
                report.failed += 1;
                report.wrong += u64::from(outcome == ReadOutcome::Wrong);
                // What has arrived of a file that is not whole does not count.
                report.bytes -= connection.at.unwrap_or(0) as u64;
                *connection = Connection::open(client, index, clock.now(), &waiting)?;
            }
        }
    }
    let now = clock.now();
    report.unfinished = connections.len() as u64;
    report.seconds = now.since(Timestamp::default()).as_secs_f64();
    report.percentiles = percentiles(&mut times);
    Ok(effort.finish(now, Statistics::default(), report))
}

impl Connection {
    /// Connects from the address of a client.
    pub(super) fn open(plan: &Client, index: u32, now: Timestamp, waiting: &impl AsFd) -> Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        let from = plan.from.to_bits() + if plan.from_one { 0 } else { index };
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::from_bits(from), 0))
            .with_context(|| format!("this host does not have {}", Ipv4Addr::from_bits(from)))?;
        match connect(&socket, &plan.server) {
            // Who is refused at once is told so by the first write.
            Ok(()) | Err(Errno::INPROGRESS | Errno::CONNREFUSED) => {}
            Err(error) => bail!("cannot connect to {}: {error}", plan.server),
        }
        let data = epoll::EventData::new_u64(index.into());
        epoll::add(waiting, &socket, data, epoll::EventFlags::OUT)?;
        let stream = TcpStream::from(socket);
        Ok(Self { stream, index, asked: false, heads: false, began: now, head: Vec::new(), at: None })
    }

    /// Asks for the file's length first, as EDK2 does.
    pub(super) fn with_head_first(self) -> Self {
        Self { heads: true, ..self }
    }

    /// The next request, over the same connection.
    fn again(&mut self, now: Timestamp) {
        (self.began, self.at) = (now, None);
        self.head.clear();
    }

    fn ask(&mut self, request: &str) -> ReadOutcome {
        // It is shorter than any socket's buffer.
        if self.stream.write(request.as_bytes()).is_ok_and(|len| len == request.len()) {
            ReadOutcome::Reads
        } else {
            ReadOutcome::Failed
        }
    }

    /// The socket is ready: takes what is there, for some steps.
    pub(super) fn turn(
        &mut self,
        plan: &Client,
        buffer: &mut [u8],
        waiting: &impl AsFd,
    ) -> Result<ReadOutcome> {
        for _ in 0..TURNS {
            match self.step(plan, buffer, waiting)? {
                ReadOutcome::Reads => {}
                outcome => return Ok(outcome),
            }
        }
        Ok(ReadOutcome::Reads)
    }

    /// It is connected, or there is something to read.
    fn step(&mut self, plan: &Client, buffer: &mut [u8], waiting: &impl AsFd) -> Result<ReadOutcome> {
        if !self.asked {
            self.asked = true;
            let data = epoll::EventData::new_u64(self.index.into());
            epoll::modify(waiting, &self.stream, data, epoll::EventFlags::IN)?;
            return Ok(self.ask(&plan.request(if self.heads { "HEAD" } else { "GET" })));
        }
        Ok(match self.stream.read(buffer) {
            Ok(0) => ReadOutcome::Failed,
            Ok(len) => self.take(plan, &buffer[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => ReadOutcome::Waits,
            Err(_) => ReadOutcome::Failed,
        })
    }

    /// Takes bytes of the answer.
    fn take(&mut self, plan: &Client, bytes: &[u8]) -> ReadOutcome {
        let (at, body) = match self.at {
            Some(at) => (at, bytes),
            None => {
                let before = self.head.len();
                self.head.extend_from_slice(&bytes[..bytes.len().min(HEAD_MAX)]);
                let Some(end) = self.head.windows(4).position(|end| end == b"\r\n\r\n") else {
                    return if self.head.len() < HEAD_MAX { ReadOutcome::Reads } else { ReadOutcome::Failed };
                };
                match content_len(&self.head[..end]) {
                    None => return ReadOutcome::Failed,
                    Some(len) if len != plan.file.len() => return ReadOutcome::Wrong,
                    Some(_) if self.heads => {
                        self.heads = false;
                        self.head.clear();
                        return self.ask(&plan.request("GET"));
                    }
                    Some(_) => (0, &bytes[end + 4 - before..]),
                }
            }
        };
        let Some(expected) = plan.file.get(at..at + body.len()) else { return ReadOutcome::Wrong };
        if self.index.is_multiple_of(SAMPLE) && body != expected {
            return ReadOutcome::Wrong;
        }
        self.at = Some(at + body.len());
        if at + body.len() == plan.file.len() { ReadOutcome::Done } else { ReadOutcome::Reads }
    }
}

/// The length of the body, if the answer is 200.
fn content_len(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.lines();
    lines.next()?.split(' ').nth(1).filter(|status| *status == "200")?;
    let value = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    value?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Serves one connection with these answers to everything that it asks.
    fn run_against(answers: Vec<Vec<u8>>) -> Report {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = thread::spawn(move || {
            let mut answers = answers.into_iter();
            while let Some(answer) = answers.next() {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let mut answer = Some(answer);
                while stream.read(&mut request).is_ok_and(|len| len > 0) {
                    let Some(bytes) = answer.take().or_else(|| answers.next()) else { break };
                    stream.write_all(&bytes).unwrap();
                }
            }
        });
        let client = Client {
            server: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
            path: "/file".into(),
            file: b"content".to_vec(),
            connections: 1,
            from: Ipv4Addr::LOCALHOST,
            from_one: true,
        };
        let plan = Plan { client, time: Duration::from_millis(300) };
        let report = run(&plan).unwrap();
        drop(serving);
        report
    }

    fn answer(body: &[u8]) -> Vec<u8> {
        [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
    }

    #[test]
    fn whole_files_count_and_a_connection_serves_several() {
        let report = run_against(vec![answer(b"content"), answer(b"content")]);
        assert_eq!((report.done, report.bytes, report.wrong), (2, 14, 0), "{}", report.to_json());
    }

    #[test]
    fn wrong_bytes_and_lengths_are_wrong_and_other_answers_fail() {
        let report = run_against(vec![answer(b"c0ntent"), answer(b"contents")]);
        assert!(report.wrong == 2 && report.bytes == 0, "{}", report.to_json());
        let refused = run_against(vec![b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n".to_vec()]);
        assert!(refused.failed >= 1 && refused.wrong == 0 && refused.done == 0, "{}", refused.to_json());
    }
}
