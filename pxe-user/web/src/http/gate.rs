//! Who is served at all: files, reports and uploads alike.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Response, StatusCode};
use axum::middleware::{Next, from_fn_with_state};

use super::refusal;
use crate::api::machines::Neighbours;
use crate::api::metrics::{Counts, Refused};
use pxe_content::rules::Access;

/// What stands before the machines' paths. Clones look at the same list.
#[derive(Clone)]
pub struct Gate {
    /// Who is served.
    pub access: Arc<ArcSwap<Access>>,
    /// Who knows whose an address is.
    pub neighbours: Arc<dyn Neighbours>,
    /// Where refusals are counted.
    pub counts: Counts,
}

impl Gate {
    /// Puts itself before all of a router's paths.
    pub fn before(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, pass))
    }
}

/// A connection has been made already, so there is no silence left: who is not served is told so, whatever it asked for.
async fn pass(
    State(gate): State<Gate>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let address = client(peer);
    if !gate.access.load().allows(address, || gate.neighbours.mac(address)) {
        gate.counts.refused(Refused::Access);
        return refusal(StatusCode::FORBIDDEN, "[access] does not allow this machine");
    }
    next.run(request).await
}

/// The IPv4 address of a peer.
pub(super) fn client(peer: SocketAddr) -> Ipv4Addr {
    match peer.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => address.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED),
    }
}
