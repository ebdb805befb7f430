//! The catalogue over HTTP, for UEFI HTTP boot, iPXE and GRUB. Names, files and rules are the same as over TFTP.
//!
//! UEFI firmware asks for the size with HEAD, then for the file with GET. It follows no redirect (clients.md, section
//! 1), so pxed sends none. Bodies refer to the snapshots themselves; the first copy is the kernel's.
//!
//! | file | contents |
//! |---|---|
//! | [`Gate`] | which clients are served |
//! | `range` | a part of a file (RFC 9110, section 14) |
//! | `media` | the `Content-Type` that EDK2 needs |
//! | `body` | the response's body, and when the client has it |

mod body;
mod gate;
mod media;
mod range;

use std::cell::Cell;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use rustix::io::Errno;
use tokio::sync::Semaphore;

use crate::api::metrics::{Counts, Refused};
use crate::api::serve::Socket;
use body::Sending;
pub use gate::Gate;
use pxe_content::boot::{Catalogue, FileName, Image, Lookup, Refusal, ServedAt};
use pxe_engine::clock::Clock;
use pxe_fleet::event::{Event, Peer, Transport};
use pxe_fleet::handle::{FactsRequest, FleetHandle};
use pxe_proto::mac::Mac;
use range::Part;

/// Requests that may read files from disk at the same time; other requests wait.
const LOADING_MAX: usize = 16;

/// The HTTP server for boot files. Clones share the same state.
#[derive(Clone)]
pub struct Http {
    /// The catalogue, replaced when files or the configuration change.
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    /// Receives the events of transfers, and answers which machine a client is.
    pub fleet: FleetHandle,
    /// The address and HTTP port under which machines reach pxed; templates use them.
    pub here: ServedAt,
    /// Bytes of bodies that were handed to sockets, over all interfaces.
    pub sent: Arc<AtomicU64>,
    /// The clock for transfers' durations.
    pub clock: Clock,
    /// Counts rejected requests.
    pub counts: Counts,
    loading: Arc<Semaphore>,
}

impl Http {
    /// A server of these files at one address. It listens on no socket: see [`Http::router`].
    #[must_use]
    pub fn new(
        catalogue: Arc<ArcSwap<Catalogue>>,
        fleet: FleetHandle,
        here: ServedAt,
        sent: Arc<AtomicU64>,
        clock: Clock,
        counts: Counts,
    ) -> Self {
        let loading = Arc::new(Semaphore::new(LOADING_MAX));
        Self { catalogue, fleet, here, sent, clock, counts, loading }
    }

    /// The router that answers every path with the file of that name. Paths that the caller adds take precedence.
    pub fn router(self) -> Router {
        Router::new().fallback(serve).with_state(self)
    }

    /// The file of that name. A file that is written for one machine is written for `peer`.
    async fn find(&self, name: FileName, peer: Peer) -> Result<Arc<Image>, Refusal> {
        match self.catalogue.load().lookup(&name) {
            Lookup::Ready(image) => return Ok(image),
            Lookup::Refused(refusal) => return Err(refusal),
            Lookup::NotLoaded => {}
        }
        let again = Refusal::Io(Errno::AGAIN);
        let place = Arc::clone(&self.loading).acquire_owned().await.map_err(|_| again)?;
        let http = self.clone();
        let load = tokio::task::spawn_blocking(move || {
            // The permit is held until the load ends, even if the client disconnects. So clients that disconnect cannot
            // pile up questions to the fleet.
            let _place = place;
            let silent = Cell::new(false);
            let facts = |named: Option<Mac>| {
                let asked = http.fleet.facts_blocking(FactsRequest { named, peer });
                asked.inspect_err(|_| silent.set(true)).ok().flatten()
            };
            let loaded = http.catalogue.load().load_for(&name, http.here, facts);
            if silent.get() { Err(again) } else { loaded }
        });
        load.await.unwrap_or(Err(Refusal::Io(Errno::IO)))
    }

    fn record(&self, event: Event) {
        // If the fleet's queue is full, the machine's history lacks this event. The file is served anyway.
        let _ = self.fleet.record(event);
    }
}

async fn serve(
    State(http): State<Http>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    socket: Option<Extension<Socket>>,
    request: Request<Body>,
) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        http.counts.refused(Refused::Method);
        let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let client = gate::client(peer);
    let address = SocketAddrV4::new(client, peer.port());
    let peer = Peer { address, mac: Mac::default(), transport: Transport::Http };
    let raw: Vec<u8> = percent_decode_str(request.uri().path()).collect();
    let name = match FileName::normalise(&raw) {
        Ok(name) => name,
        Err(error) => return refused(&http, error),
    };
    let image = match http.find(name, peer).await {
        Ok(image) => image,
        Err(error) => {
            http.record(Event::Refused { peer, name: Box::new(name), refusal: error });
            return refused(&http, error);
        }
    };
    let part = range::part(request.headers(), image.len(), &entity_tag(&image));
    let Some(part) = part else {
        http.counts.refused(Refused::Range);
        let mut response = refusal(StatusCode::RANGE_NOT_SATISFIABLE, "the file has no such part");
        insert(response.headers_mut(), header::CONTENT_RANGE, format!("bytes */{}", image.len()));
        return response;
    };
    answer(&http, peer, socket.map(|Extension(socket)| socket), image, part, request.method() == Method::HEAD)
}

fn answer(
    http: &Http,
    peer: Peer,
    socket: Option<Socket>,
    image: Arc<Image>,
    part: Part,
    is_head: bool,
) -> Response<Body> {
    let (status, range) = match &part {
        Part::Whole => (StatusCode::OK, 0..image.len()),
        Part::Range(range) => (StatusCode::PARTIAL_CONTENT, range.clone()),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media::kind(&image)));
    headers.insert(header::ACCEPT_RANGES, header::HeaderValue::from_static("bytes"));
    insert(headers, header::ETAG, entity_tag(&image));
    // A proxy must not give a file that is written for one machine to another machine.
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache"));
    insert(headers, header::CONTENT_LENGTH, (range.end - range.start).to_string());
    if let Part::Range(range) = &part {
        let text = format!("bytes {}-{}/{}", range.start, range.end - 1, image.len());
        insert(headers, header::CONTENT_RANGE, text);
    }
    if !is_head {
        let sent = Arc::clone(&http.sent);
        let count = move |bytes: u64| {
            sent.fetch_add(bytes, Ordering::Relaxed);
        };
        let sending = Sending::new(image, range, peer, socket, http.fleet.clone(), http.clock, count);
        *response.body_mut() = Body::new(sending);
    }
    response
}

/// Each snapshot has its own tag. The file's modification time is not used: it may stay the same when the content
/// changes.
fn entity_tag(image: &Image) -> String {
    format!("\"{:x}-{:x}-{:x}\"", std::process::id(), image.id(), image.len())
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, text: String) {
    if let Ok(value) = text.try_into() {
        headers.insert(name, value);
    }
}

fn refused(http: &Http, refusal_: Refusal) -> Response<Body> {
    use pxe_proto::tftp::packet::ErrorCode;
    let status = match refusal_.code() {
        ErrorCode::NOT_FOUND => StatusCode::NOT_FOUND,
        ErrorCode::DENIED => StatusCode::FORBIDDEN,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    http.counts.refused(Refused::File(refusal_));
    refusal(status, refusal_.text())
}

fn refusal(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
