//! The paths of the API and their handlers. `docs/openapi.json` describes each path; a test compares both.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post, put};
use axum::{Json, Router};
use tokio::sync::Semaphore;

use super::access::{self, ListenerAccess};
use super::board_pacer::BoardPacer;
use super::metrics::{Counts, Refused};
use super::problem::Problem;
use super::{Api, VIEWERS_MAX, events, page, read, write};

/// The longest body of a request, in bytes. `pxed ingest` sends the lines of consoles in pieces.
pub(super) const BODY_MAX: usize = 256 * 1024;
/// Within this time the body of a request must have arrived, and the response must have begun.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Begins a browser's session. The path exists only on a listener with a token.
const LOGIN: &str = "/login";

/// Every path of the API except [`LOGIN`], with its method.
fn routes() -> Vec<(&'static str, &'static str, MethodRouter<Api>)> {
    vec![
        ("get", "/api/v1/machines", get(read::machines)),
        ("get", "/api/v1/machines/{mac}", get(read::machine)),
        ("post", "/api/v1/machines/{mac}/again", post(write::again)),
        ("put", "/api/v1/machines/{mac}/name", put(write::name)),
        ("post", "/api/v1/again", post(write::again_all)),
        ("post", "/api/v1/feed/{who}", post(write::feed)),
        ("get", "/api/v1/events", get(events::stream)),
        ("get", "/api/v1/steps", get(read::steps)),
        ("get", "/api/v1/summary", get(read::summary)),
        ("get", "/api/v1/throughput", get(read::throughput)),
        ("get", "/api/v1/openapi.json", get(page::openapi)),
        ("get", "/metrics", get(read::metrics)),
        ("get", "/healthz", get(read::healthz)),
        ("get", "/readyz", get(read::readyz)),
    ]
}

impl Api {
    /// Every method and path of the API, for the test that compares them with the description. The dashboard's files
    /// are not included.
    pub fn paths() -> impl Iterator<Item = (&'static str, &'static str)> {
        routes().into_iter().map(|(method, path, _)| (method, path)).chain([("post", LOGIN)])
    }

    /// The API's router for one listener.
    pub(super) fn router(&self, access: ListenerAccess) -> Router {
        let mut router = Router::new();
        for (_, path, method) in routes() {
            router = router.route(path, method);
        }
        // Each listener has its own limits, so viewers over TCP cannot use up those of the Unix socket, which is
        // root's.
        let (viewers, pace) = (Arc::new(Semaphore::new(VIEWERS_MAX)), BoardPacer::default());
        let api = Self { viewers, pace, ..self.clone() };
        let mut router = router.with_state(api).merge(page::router());
        if let ListenerAccess::Token { token, .. } = &access {
            let login = post(access::login).with_state((Arc::clone(token), self.counts().clone()));
            router = router.route(LOGIN, login);
        }
        router
            .fallback(refuse(self.counts(), Refused::Path))
            .method_not_allowed_fallback(refuse(self.counts(), Refused::Method))
            .layer(DefaultBodyLimit::max(BODY_MAX))
            .layer(from_fn_with_state(self.counts().clone(), in_time))
            .layer(from_fn_with_state(self.counts().clone(), not_too_large))
            .layer(from_fn_with_state((access, self.counts().clone()), access::guard))
            .layer(map_response(access::strict))
    }
}

/// A handler for requests that no route matches.
fn refuse(counts: &Counts, reason: Refused) -> impl Fn() -> Ready<Problem> + Clone + Send + Sync + use<> {
    let counts = counts.clone();
    move || {
        counts.refused(reason);
        ready(match reason {
            Refused::Method => {
                let text = "method not allowed: see /api/v1/openapi.json";
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, text)
            }
            _ => Problem::new(StatusCode::NOT_FOUND, "no such path: see /api/v1/openapi.json"),
        })
    }
}

/// Rejects a request whose `Content-Length` is too large before its body is read.
async fn not_too_large(State(counts): State<Counts>, request: Request, next: Next) -> Response {
    let size = request.headers().get(CONTENT_LENGTH).and_then(|size| size.to_str().ok()?.parse::<u64>().ok());
    if size.is_some_and(|size| size > BODY_MAX as u64) {
        counts.refused(Refused::TooLarge);
        let text = format!("a request's body has at most {BODY_MAX} bytes");
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
    }
    next.run(request).await
}

/// Ends a request that takes too long, so that a client cannot keep a connection by sending its body very slowly.
async fn in_time(State(counts): State<Counts>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            counts.refused(Refused::TooSlow);
            let error = serde_json::json!({ "error": "the request took too long" });
            (StatusCode::REQUEST_TIMEOUT, [("connection", "close")], Json(error)).into_response()
        }
    }
}
