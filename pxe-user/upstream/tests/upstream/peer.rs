//! A web server with TLS in this process, which can answer what no real one does: too few bytes, no ETag, nothing at all.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What the server answers to a request for one path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    pub(crate) etag: Option<String>,
    pub(crate) modified: Option<String>,
    /// The announced length, if it is not that of the body.
    pub(crate) length: Option<u64>,
    /// The status, if it is not 200.
    pub(crate) status: Option<u16>,
}

impl Answer {
    /// A file whose ETag is its contents.
    pub(crate) fn file(text: &str) -> Self {
        Self { body: text.into(), etag: Some(format!("\"{text}\"")), ..Self::default() }
    }
}

type Answers = BTreeMap<String, Answer>;

/// The server. Its threads end with the process.
#[derive(Debug)]
pub(crate) struct Peer {
    port: u16,
    authority: String,
    answers: Arc<Mutex<Answers>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    pub(crate) fn start() -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &authority).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answers, requests) = (Arc::<Mutex<Answers>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (shown, seen) = (Arc::clone(&answers), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, shown, seen) = (Arc::clone(&config), Arc::clone(&shown), Arc::clone(&seen));
                // A client that hangs up is no error of the server.
                std::thread::spawn(move || drop(serve(stream, config, &shown, &seen)));
            }
        });
        Self { port, authority: authority.pem(), answers, requests }
    }

    /// The authority of the certificate, in PEM.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}/images/", self.port)
    }

    /// The answers by the name of the file.
    pub(crate) fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap()
    }

    pub(crate) fn put(&self, name: &str, answer: Answer) {
        self.answers().insert(name.to_owned(), answer);
    }

    /// The names that were requested since the last call, each with the status of the answer.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    answers: &Mutex<Answers>,
    requests: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let path = head[0].split(' ').nth(1).unwrap_or_default();
    let name = path.strip_prefix("/images/").unwrap_or(path).to_owned();
    let known = head.iter().find_map(|line| line.strip_prefix("if-none-match: ")).map(str::to_owned);
    let answer = answers.lock().unwrap().get(&name).cloned();
    let answer = answer.unwrap_or(Answer { status: Some(404), ..Answer::default() });
    let is_known = known.is_some() && known == answer.etag;
    let status = if is_known { 304 } else { answer.status.unwrap_or(200) };
    requests.lock().unwrap().push(format!("{name} {status}"));
    let body = if is_known { Vec::new() } else { answer.body };
    let mut head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
    head += &format!("Content-Length: {}\r\n", answer.length.unwrap_or(body.len() as u64));
    for (key, value) in [("ETag", answer.etag), ("Last-Modified", answer.modified)] {
        head += &value.map_or_else(String::new, |value| format!("{key}: {value}\r\n"));
    }
    let mut stream = reader.into_inner();
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(&body)?;
    stream.conn.send_close_notify();
    stream.flush()
}
