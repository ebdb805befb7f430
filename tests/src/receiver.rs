//! The server that a memory test reports to, as far as the test's reports are looked at by themselves: it takes
//! `POST /report/v1/MAC` as the daemon does, and keeps what came.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use pxe_user::fleet::report::{BODY_MAX, Report};
use xtask::lab::Host;

use crate::namespace;

const PATH: &str = "/report/v1/";

/// A report, and whose it is by the address that was posted to.
pub type Received = (String, Report);

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    reports: Arc<Mutex<Vec<Received>>>,
    complaints: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Listens on one of the lab's hosts.
    ///
    /// # Errors
    /// Without root.
    pub fn start(host: &Host) -> Result<Self> {
        let (told, listening) = channel();
        let (namespace, address) = (host.namespace().to_owned(), host.address());
        let (reports, complaints) = (Arc::default(), Arc::default());
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (reports, complaints, stop) =
                (Arc::clone(&reports), Arc::clone(&complaints), Arc::clone(&stop));
            move || match listen(&namespace, &address) {
                Ok((listener, address)) => {
                    drop(told.send(Ok(address)));
                    serve(&listener, &stop, &reports, &complaints);
                }
                Err(error) => drop(told.send(Err(error))),
            }
        });
        let address = listening.recv().context("the receiver's thread is gone")??;
        Ok(Self { address, reports, complaints, stop, thread: Some(thread) })
    }

    /// What the tests are told in `pxed.report=`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that has come so far. Panics when something else came.
    pub fn reports(&self) -> Vec<Received> {
        let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(complaints.is_empty(), "no reports: {complaints:?}");
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn listen(namespace: &str, address: &str) -> Result<(TcpListener, SocketAddr)> {
    namespace::enter(namespace)?;
    let listener = TcpListener::bind((address, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn serve(
    listener: &TcpListener,
    stop: &AtomicBool,
    reports: &Mutex<Vec<Received>>,
    complaints: &Mutex<Vec<String>>,
) {
    while !stop.load(Ordering::Relaxed) {
        let taken = match listener.accept() {
            Ok((stream, _)) => take(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(20));
                continue;
            }
            Err(error) => Err(error.into()),
        };
        match taken {
            Ok(report) => reports.lock().unwrap_or_else(PoisonError::into_inner).push(report),
            Err(error) => {
                complaints.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{error:#}"));
            }
        }
    }
}

/// Takes one report from a connection, and answers.
fn take(stream: TcpStream) -> Result<Received> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(&stream);
    let mut line = || -> Result<String> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    };
    let request = line()?;
    let mut length = None;
    loop {
        let header = line()?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').context("a header without a colon")?;
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>()?);
        }
    }
    let [method, path, _] = request.split(' ').collect::<Vec<_>>()[..] else { bail!("`{request}`") };
    let mac = path.strip_prefix(PATH).with_context(|| format!("`{request}`"))?;
    ensure!(method == "POST", "`{request}`");
    let length = length.context("no length")?;
    ensure!(length <= BODY_MAX, "a body of {length} bytes");
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let report = serde_json::from_slice(&body)
        .with_context(|| format!("no report: {}", String::from_utf8_lossy(&body)))?;
    (&stream).write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")?;
    Ok((mac.to_owned(), report))
}
