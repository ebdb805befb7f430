//! The check of `[access]` in front of all paths for machines: files, reports and uploads. `pxed/src/server/web.rs`
//! puts a [`Gate`] before the router of each interface.

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

/// Checks each request's client against `[access]`. Clones share the same list.
#[derive(Clone)]
pub struct Gate {
    /// The list of `[access]`, replaced when the configuration is reloaded.
    pub access: Arc<ArcSwap<Access>>,
    /// Finds the Ethernet address of a client, for entries that name one.
    pub neighbours: Arc<dyn Neighbours>,
    /// Counts the requests that `[access]` rejects.
    pub counts: Counts,
}

impl Gate {
    /// Returns `router` with this check before every path.
    pub fn before(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, pass))
    }
}

/// TCP is already connected, so pxed cannot stay silent as it does for DHCP: clients that are not allowed get 403 for
/// every path and method.
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

/// The IPv4 address of a peer; 0.0.0.0 if its address is IPv6 and maps to none.
pub(super) fn client(peer: SocketAddr) -> Ipv4Addr {
    match peer.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => address.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED),
    }
}
