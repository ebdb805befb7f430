//! How long a reader of the API waits for a board with many machines: over the daemon's own server, on a Unix socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use arc_swap::ArcSwap;
use pxe_engine::gauges::Gauges;
use pxe_fleet::handle::FleetHandle;
use pxe_kit::clock;
use pxe_web::api::{Api, Listeners, serve};
use tokio::sync::oneshot;

/// The longest that an answer may take. It only stops a measurement that hangs.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// What a reader of all machines saw.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answer {
    /// Seconds until the first machine was there.
    pub(crate) first: f64,
    /// Seconds until the end.
    pub(crate) whole: f64,
    /// Bytes, with headers.
    pub(crate) bytes: usize,
}

/// Reads all machines of a fleet. `folder` is for the socket.
pub(crate) fn read_all(fleet: &FleetHandle, folder: &Path) -> Result<Answer> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let socket = folder.join("api.sock");
    let (end, ended) = oneshot::channel::<()>();
    let _inside = runtime.enter();
    let listeners = Listeners::bind(&socket, None, None)?;
    let api = Api::new(fleet.clone(), Arc::new(ArcSwap::from_pointee(Gauges::default())));
    let serving = runtime.spawn(async move {
        serve(api, listeners, async {
            let _ = ended.await;
        })
        .await
    });
    let answer = ask(&socket);
    drop(end);
    runtime.block_on(serving)??;
    answer
}

fn ask(socket: &Path) -> Result<Answer> {
    let began = clock::now();
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(b"GET /api/v1/machines HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let (mut answer, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    let mut first = None;
    loop {
        let count = stream.read(&mut buffer).context("the API does not answer")?;
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..count]);
        if first.is_none() && has(&answer, b"\"mac\":") {
            first = Some(seconds(began));
        }
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200 "), "the API's answer is no list of machines");
    let first = first.context("the API's answer has no machine")?;
    Ok(Answer { first, whole: seconds(began), bytes: answer.len() })
}

fn has(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|window| window == words)
}

fn seconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64()
}
