//! The paths for machines: reports of memory tests, and uploads if an inbox is configured.
//!
//! Any host in the machines' network can send to this address, so a sender could report for another machine. Two checks
//! prevent that. The path begins with the nonce of a boot, which only the files written for the machine in that boot
//! contain. The Ethernet address in the path must be the sender's, if the kernel knows the sender's address. A page in
//! a browser does not know the nonce. It also cannot send a report, because reports need a content type or a header
//! that no HTML form sends.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{post, put};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::metrics::{Counts, Refused};
use super::problem::Problem;
use super::receive::{BodyEnd, PIECES, SILENCE, send, store};
use super::{FLEET_WAIT, access};
use pxe_content::inbox::{Inbox, InboxError};
use pxe_fleet::claim::{Claim, ClaimRefusal};
use pxe_fleet::handle::{FleetHandle, Message, Unreachable};
use pxe_fleet::report::{BODY_MAX, Report};
use pxe_proto::mac::Mac;

/// Reports that may wait for the fleet's thread at the same time, over all connections.
const REPORTS_MAX: usize = 8;

/// The limits for reports: one report at a time from each sender, and eight with the fleet. Clones share the count.
#[derive(Clone, Debug)]
pub struct Reports {
    places: Arc<Semaphore>,
    senders: Arc<Mutex<HashSet<IpAddr>>>,
}

impl Default for Reports {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(REPORTS_MAX)), senders: Arc::default() }
    }
}

impl Reports {
    /// The slot of a sender; `None` while the sender already has one.
    fn turn(&self, sender: IpAddr) -> Option<ReportSlot> {
        let is_new = self.senders.lock().unwrap_or_else(PoisonError::into_inner).insert(sender);
        is_new.then(|| ReportSlot { reports: self.clone(), sender })
    }

    fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }
}

/// The one report that a sender may have in progress. Dropping it allows the next one.
struct ReportSlot {
    reports: Reports,
    sender: IpAddr,
}

impl Drop for ReportSlot {
    fn drop(&mut self) {
        self.reports.senders.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.sender);
    }
}

/// Finds the Ethernet address of a host in the same network.
pub trait Neighbours: Send + Sync {
    /// The Ethernet address of an IP address; `None` if the kernel does not know it, as behind a router.
    fn mac(&self, address: Ipv4Addr) -> Option<Mac>;
}

impl<F: Fn(Ipv4Addr) -> Option<Mac> + Send + Sync> Neighbours for F {
    fn mac(&self, address: Ipv4Addr) -> Option<Mac> {
        self(address)
    }
}

/// The state behind the paths for machines.
#[derive(Clone)]
pub struct Machines {
    /// Receives reports and the names of uploads.
    pub fleet: FleetHandle,
    /// Finds the Ethernet address of a sender.
    pub neighbours: Arc<dyn Neighbours>,
    /// Stores uploads. `None` without `[inbox]`: then no path accepts uploads.
    pub inbox: Option<Arc<Inbox>>,
    /// The limits for reports, shared by the servers of all interfaces.
    pub reports: Reports,
    /// Counts reports, uploads and rejected requests.
    pub counts: Counts,
}

/// The router for machines: `POST /pxed/{nonce}/report/v1/{mac}`, and `PUT /pxed/{nonce}/inbox/{mac}/{name}` if there
/// is an inbox. The same paths without the nonce exist to answer with an error that says what is missing. The server
/// must provide [`ConnectInfo`], as [`super::serve::serve_tcp`] does.
pub fn router(machines: Machines) -> Router {
    let uploads = machines.inbox.is_some();
    let report_without = |state, peer, Path(mac): Path<String>, headers, body| {
        report(state, peer, Path((String::new(), mac)), headers, body)
    };
    let upload_without = |state, peer, Path((mac, name)): Path<(String, String)>, headers, body| {
        upload(state, peer, Path((String::new(), mac, name)), headers, body)
    };
    let mut router = Router::new()
        .route("/pxed/{nonce}/report/v1/{mac}", post(report))
        .route("/report/v1/{mac}", post(report_without));
    if uploads {
        router = router
            .route("/pxed/{nonce}/inbox/{mac}/{name}", put(upload))
            .route("/inbox/{mac}/{name}", put(upload_without));
    }
    router.layer(axum::middleware::map_response(access::strict)).with_state(machines)
}

impl Machines {
    /// The sender's claim: machine and nonce from the path, and the Ethernet address that the kernel knows of the
    /// sender.
    fn claim(&self, nonce: &str, mac: &str, peer: SocketAddr) -> Result<Claim, Problem> {
        let address = match peer.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(address) => address.to_ipv4_mapped(),
        };
        let neighbour = address.and_then(|address| self.neighbours.mac(address));
        Ok(Claim {
            mac: mac.parse().map_err(|error| Problem::bad(format!("{error}")))?,
            nonce: nonce.parse().ok(),
            neighbour,
        })
    }
}

impl From<ClaimRefusal> for Problem {
    fn from(unbelieved: ClaimRefusal) -> Self {
        let status = match unbelieved {
            ClaimRefusal::Unknown => StatusCode::NOT_FOUND,
            ClaimRefusal::Sender | ClaimRefusal::Nonce => StatusCode::FORBIDDEN,
            ClaimRefusal::NotFetched | ClaimRefusal::NotBegun => StatusCode::CONFLICT,
        };
        Self::new(status, unbelieved.to_string())
    }
}

async fn report(
    State(machines): State<Machines>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((nonce, mac)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    if !access::is_meant(&headers) {
        machines.counts.refused(Refused::Header);
        let text = "a report is sent as `Content-Type: application/json`, or with the header `X-Pxed: 1`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let outcome = machines.take_report((&nonce, &mac), peer, body).await;
    machines.counts.report(outcome.as_ref().err().map_or("accepted", |(why, _)| *why));
    outcome.map(|()| StatusCode::NO_CONTENT).map_err(|(_, problem)| problem)
}

impl Machines {
    /// Passes a report to the fleet. The error holds the label for the counter, and the response.
    async fn take_report(
        &self,
        (nonce, mac): (&str, &str),
        peer: SocketAddr,
        body: Body,
    ) -> Result<(), (&'static str, Problem)> {
        let claim = self.claim(nonce, mac, peer).map_err(|problem| ("mac", problem))?;
        let turn = self
            .reports
            .turn(peer.ip().to_canonical())
            .ok_or_else(|| busy("this client is already sending a report"))?;
        let read = tokio::time::timeout(SILENCE, http_body_util::Limited::new(body, BODY_MAX).collect());
        let body = read
            .await
            .map_err(|_| ("slow", Problem::new(StatusCode::REQUEST_TIMEOUT, "the report took too long")))?
            .map_err(|_| {
                let text = format!("a report has at most {BODY_MAX} bytes");
                ("too_large", Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text))
            })?;
        let place = self.reports.place().ok_or_else(|| busy("too many reports at a time"))?;
        // The body is parsed as JSON whatever its `Content-Type` is, so that a machine with only `wget` can report.
        let report: Report = serde_json::from_slice(&body.to_bytes())
            .map_err(|error| ("malformed", Problem::bad(format!("not a report: {error}"))))?;
        let told = move |answer| Message::Report(claim, Box::new(report), answer);
        let fleet = self.fleet.clone();
        // A task of its own holds the slots until the fleet has processed the report, even if the sender disconnects.
        let handed = tokio::spawn(async move {
            let _held = (turn, place);
            fleet.ask(told).await
        });
        match tokio::time::timeout(FLEET_WAIT, handed).await {
            Ok(Ok(Ok(Ok(())))) => Ok(()),
            Ok(Ok(Ok(Err(unbelieved)))) => Err((unbelieved.as_str(), unbelieved.into())),
            _ => Err(("fleet", Unreachable.into())),
        }
    }
}

fn busy(what: &str) -> (&'static str, Problem) {
    ("busy", Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{what}: try again")))
}

async fn upload(
    State(machines): State<Machines>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((nonce, mac, name)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let Some(inbox) = machines.inbox.clone() else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "no uploads here"));
    };
    let claim = machines.claim(&nonce, &mac, peer)?;
    if let Err(unbelieved) = machines.fleet.ask(|answer| Message::Admit(claim, answer)).await? {
        machines.counts.upload(unbelieved.as_str(), 0);
        return Err(unbelieved.into());
    }
    let mac = claim.mac;
    let size = headers.get(header::CONTENT_LENGTH).and_then(|size| size.to_str().ok()?.parse().ok());
    // This task is cancelled with the connection. The upload needs its own: the fleet must learn of each file that the
    // inbox keeps.
    let taken = tokio::spawn(async move { machines.take_upload(inbox, mac, name, size, body).await });
    taken.await.map_err(|_| broken())?
}

impl Machines {
    async fn take_upload(
        &self,
        inbox: Arc<Inbox>,
        mac: Mac,
        name: String,
        size: Option<u64>,
        body: Body,
    ) -> Result<StatusCode, Problem> {
        let (pieces, receiver) = mpsc::channel(PIECES);
        let file = name.clone();
        let writer = tokio::task::spawn_blocking(move || store(inbox.begin(mac, &file, size)?, receiver));
        let whole = send(body, pieces).await;
        match writer.await.map_err(|_| broken())? {
            Ok(Some(size)) => {
                self.counts.upload("accepted", size);
                tracing::info!(event = "uploaded", %mac, name, size, "stored an upload");
                self.fleet.send(Message::Uploaded(mac, name, size)).await?;
                Ok(StatusCode::CREATED)
            }
            Ok(None) => {
                let outcome = if whole == BodyEnd::Slow { "slow" } else { "aborted" };
                self.counts.upload(outcome, 0);
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "an upload ended early"))
            }
            Err(error) => {
                self.counts.upload(error.as_str(), 0);
                Err(refusal(&error))
            }
        }
    }
}

fn broken() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the upload failed")
}

fn refusal(error: &InboxError) -> Problem {
    let status = match error {
        InboxError::Name => StatusCode::BAD_REQUEST,
        InboxError::Exists => StatusCode::CONFLICT,
        InboxError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        InboxError::Full(_) | InboxError::Disk(_) => StatusCode::INSUFFICIENT_STORAGE,
        InboxError::Busy | InboxError::MachineBusy => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, error.to_string())
}
