//! [`Dialer`]: one HTTP request over one connection, to addresses that are known already. It replaces the client that
//! `object_store` brings: the confined daemon has no resolver, and TLS uses ring as everywhere in pxed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::source::Server;

/// The time limit for a connection to one address, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The time limit for the head of an answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Connects to one server.
#[derive(Clone)]
pub(crate) struct Dialer {
    server: Server,
    addresses: Vec<IpAddr>,
    tls: Option<Arc<ClientConfig>>,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Gives `object_store` a [`Dialer`].
#[derive(Debug)]
pub(crate) struct Connector(pub(crate) Dialer);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// A connection, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Dialer {
    pub(crate) fn new(server: Server, addresses: Vec<IpAddr>, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { server, addresses, tls }
    }

    /// Connects to the first address that answers.
    async fn connect(&self) -> Result<Box<dyn Stream>, HttpError> {
        let mut last = HttpError::new(HttpErrorKind::Connect, std::io::Error::other("no address"));
        for address in &self.addresses {
            let connected = tokio::time::timeout(CONNECT_MAX, self.connect_to(*address)).await;
            match connected {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = HttpError::new(HttpErrorKind::Connect, error),
                Err(_) => last = slow(CONNECT_MAX),
            }
        }
        Err(last)
    }

    async fn connect_to(&self, address: IpAddr) -> std::io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(SocketAddr::new(address, self.server.port)).await?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(self.server.host.clone()).map_err(std::io::Error::other)?;
        Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
    }

    /// Sends the request as a server expects it: the path alone, and the host in a header.
    fn prepared(&self, request: HttpRequest) -> Result<Request<HttpRequestBody>, HttpError> {
        let failed = |error| HttpError::new(HttpErrorKind::Request, std::io::Error::other(error));
        let (mut parts, body) = request.into_parts();
        let authority = parts.uri.authority().map(|authority| authority.as_str().to_owned());
        let authority = authority.ok_or_else(|| failed("the URL has no host".to_owned()))?;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = path.parse::<Uri>().map_err(|error| failed(error.to_string()))?;
        let host = HeaderValue::try_from(authority).map_err(|error| failed(error.to_string()))?;
        parts.headers.entry(HOST).or_insert(host);
        Ok(Request::from_parts(parts, body))
    }
}

#[async_trait]
impl HttpService for Dialer {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = self.prepared(request)?;
        let stream = TokioIo::new(self.connect().await?);
        let failed = |error| HttpError::new(HttpErrorKind::Request, error);
        let (mut sender, connection) = http1::handshake(stream).await.map_err(failed)?;
        // The task ends with the answer's body. Its error shows there, too.
        tokio::spawn(async move { drop(connection.await) });
        let answer = tokio::time::timeout(ANSWER_MAX, sender.send_request(request)).await;
        let answer = answer.map_err(|_| slow(ANSWER_MAX))?.map_err(failed)?;
        Ok(answer.map(|body| {
            HttpResponseBody::new(body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error)))
        }))
    }
}

fn slow(limit: Duration) -> HttpError {
    let text = format!("no answer for {} s", limit.as_secs());
    HttpError::new(HttpErrorKind::Timeout, std::io::Error::new(std::io::ErrorKind::TimedOut, text))
}
