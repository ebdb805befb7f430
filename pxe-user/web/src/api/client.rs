//! A client of the API over its Unix socket, for the commands of `pxed`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::access::WRITE_HEADER;

/// The longest response that the client reads, in bytes. The board of 65536 machines is shorter.
const ANSWER_MAX: usize = 256 * 1024 * 1024;
/// How long the client waits for the head of a response.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket does not accept a connection.
    #[error("cannot connect to pxed on {path}: {error}. Start `pxed serve`, or run this as root")]
    Unreachable {
        /// The socket's path.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The connection broke, or the daemon does not speak HTTP.
    #[error("the connection to pxed broke: {0}")]
    Broken(#[from] hyper::Error),
    /// The daemon did not answer in time.
    #[error("pxed did not answer in time")]
    Slow,
    /// The daemon rejected the request.
    #[error("{sentence}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The field `error` of the response's body; the status if there is none.
        sentence: String,
    },
    /// The response is too long, or its content is not what was asked for.
    #[error("this version of pxed cannot read the daemon's answer: {0}")]
    Unintelligible(String),
}

/// A client of one daemon. Each request opens its own connection.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// A client of the daemon that listens at `path`. Does not connect yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Sends GET, and reads the whole body.
    ///
    /// # Errors
    /// When the daemon does not answer or rejects the request.
    pub async fn get(&self, path: &str) -> Result<Bytes, ClientError> {
        whole(self.request(Method::GET, path, "text/plain", Bytes::new()).await?).await
    }

    /// Sends GET to a path whose response does not end, and returns the body unread.
    ///
    /// # Errors
    /// When the daemon does not answer or rejects the request.
    pub async fn stream(&self, path: &str) -> Result<Incoming, ClientError> {
        Ok(self.request(Method::GET, path, "text/plain", Bytes::new()).await?.into_body())
    }

    /// Sends POST with a text, and reads the whole body.
    ///
    /// # Errors
    /// When the daemon does not answer or rejects the request.
    pub async fn post(&self, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        whole(self.request(Method::POST, path, "text/plain; charset=utf-8", body).await?).await
    }

    /// Sends PUT with JSON, and reads the whole body.
    ///
    /// # Errors
    /// When the daemon does not answer or rejects the request.
    pub async fn put(&self, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        whole(self.request(Method::PUT, path, "application/json", body).await?).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let away = |error| ClientError::Unreachable { path: self.path.clone(), error };
        let stream = UnixStream::connect(&self.path).await.map_err(away)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // The task ends when the sender or the response's body is dropped. Errors of the connection reach the caller
        // through these.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", kind)
            .header(WRITE_HEADER, "1")
            .body(Full::new(body))
            .map_err(|error| ClientError::Unintelligible(error.to_string()))?;
        let answer = tokio::time::timeout(PATIENCE, sender.send_request(request));
        let answer = answer.await.map_err(|_| ClientError::Slow)??;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = whole(answer).await?;
        let sentence = serde_json::from_slice::<serde_json::Value>(&body).ok();
        let sentence = sentence.and_then(|value| Some(value.get("error")?.as_str()?.to_owned()));
        Err(ClientError::Refused { status, sentence: sentence.unwrap_or_else(|| status.to_string()) })
    }
}

async fn whole(answer: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| ClientError::Unintelligible(error.to_string()))
}

/// A server-sent event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event's name; empty if it has none.
    pub name: String,
    /// The content of the first `data` line: pxed writes one line for each event.
    pub data: String,
}

/// Reads the events of a stream that does not end.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    text: Vec<u8>,
    /// This many bytes of `text` were searched for the end of an event. A large board arrives in many pieces, and each
    /// byte is searched once.
    searched: usize,
}

impl Events {
    /// Reads events from the body that [`Client::stream`] returns.
    #[must_use]
    pub fn new(body: Incoming) -> Self {
        Self { body, text: Vec::new(), searched: 0 }
    }

    /// The next event; comments are skipped. `None` when the stream ends. Cancel safe.
    ///
    /// # Errors
    /// When the connection breaks, or an event is longer than the client accepts.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            while let Some(end) = self.end() {
                let block: Vec<u8> = self.text.drain(..end).collect();
                self.searched = 0;
                if let Some(event) = event(&String::from_utf8_lossy(&block)) {
                    return Ok(Some(event));
                }
            }
            if self.text.len() > ANSWER_MAX {
                return Err(ClientError::Unintelligible("an event without end".into()));
            }
            match self.body.frame().await {
                Some(frame) => self.text.extend(frame?.data_ref().into_iter().flatten()),
                None => return Ok(None),
            }
        }
    }

    fn end(&mut self) -> Option<usize> {
        let found = self.text[self.searched..].windows(2).position(|pair| pair == b"\n\n");
        let end = found.map(|at| self.searched + at + 2);
        self.searched = self.text.len().saturating_sub(1);
        end
    }
}

/// Parses one event (HTML, section 9.2.6), as far as pxed's own server uses the format.
fn event(block: &str) -> Option<Event> {
    let field = |name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.strip_prefix(' ').unwrap_or(line).to_owned())
    };
    Some(Event { name: field("event").unwrap_or_default(), data: field("data")? })
}

/// Encodes a text as one segment of a path (RFC 3986, section 2). A text of dots only is encoded, so that it cannot
/// mean a directory.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut path = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric()
            || b"-_~:".contains(&byte)
            || (byte == b'.' && !text.trim_matches('.').is_empty())
        {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}
