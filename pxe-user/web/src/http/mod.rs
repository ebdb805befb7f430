//! The catalogue over HTTP, for UEFI HTTP boot, iPXE and GRUB: the same names, files and rules as over TFTP.
//!
//! UEFI firmware asks by HEAD for the size, then by GET, and follows no redirect (clients.md section 1), so there is none.
//! Bodies are the snapshots themselves; nothing is copied before the kernel does.
//!
//! | file | noun |
//! |---|---|
//! | [`Gate`] | who is served at all |
//! | `range` | RFC 9110 section 14: a part of a file |
//! | `media` | what kind of file it is, as EDK2 wants to hear it |
//! | `body` | bytes on their way, and what became of them |

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
use pxe_fleet::handle::{FleetHandle, Inquiry};
use pxe_proto::mac::Mac;
use range::Part;

/// Files that are being read from disk at a time; others wait.
const LOADING_MAX: usize = 16;

/// What is served, and who is told of it. Clones show the same.
#[derive(Clone)]
pub struct Http {
    /// The files.
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    /// Who is told, and who knows the machines.
    pub fleet: FleetHandle,
    /// Where machines reach us.
    pub here: ServedAt,
    /// Bytes that were sent, over all interfaces.
    pub sent: Arc<AtomicU64>,
    /// The time for transfers.
    pub clock: Clock,
    /// Where refusals are counted.
    pub counts: Counts,
    loading: Arc<Semaphore>,
}

impl Http {
    /// A server of these files at one address.
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

    /// The files under their names, behind whatever other paths are added.
    pub fn router(self) -> Router {
        Router::new().fallback(serve).with_state(self)
    }

    /// The file of that name, as it is for whoever asks.
    async fn find(&self, name: FileName, peer: Peer) -> Result<Arc<Image>, Refusal> {
        match self.catalogue.load().lookup(&name) {
            Lookup::Ready(image) => return Ok(image),
            Lookup::Refused(refusal) => return Err(refusal),
            Lookup::Absent => {}
        }
        let again = Refusal::Io(Errno::AGAIN);
        let place = Arc::clone(&self.loading).acquire_owned().await.map_err(|_| again)?;
        let http = self.clone();
        let load = tokio::task::spawn_blocking(move || {
            // Until this is done, not until its client has gone: so questions to the fleet do not pile up.
            let _place = place;
            let silent = Cell::new(false);
            let facts = |named: Option<Mac>| {
                let asked = http.fleet.facts_blocking(Inquiry { named, peer });
                asked.inspect_err(|_| silent.set(true)).ok().flatten()
            };
            let loaded = http.catalogue.load().load_for(&name, http.here, facts);
            if silent.get() { Err(again) } else { loaded }
        });
        load.await.unwrap_or(Err(Refusal::Io(Errno::IO)))
    }

    fn record(&self, event: Event) {
        // A fleet that is too busy misses a line of the story; the file is served all the same.
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
    // What is written for one machine must not be given to another by a cache on the way.
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

/// Each snapshot is another entity, whatever the file's times say.
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
