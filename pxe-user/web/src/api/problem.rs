//! Errors of the API: a status and `{"error": "a sentence"}`. Every handler returns them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use pxe_fleet::handle::Unreachable;

/// The response to a request that failed. With status 503 it asks the client to retry after two seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    error: String,
}

impl Problem {
    /// A response with this status. The sentence is shown to people: it says what failed and what to do.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }

    /// Status 400: the path does not accept this request.
    pub fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// Status 404: no machine has this name or address.
    pub fn unknown_machine() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no such machine: see `pxed status` or /api/v1/machines")
    }
}

impl From<Unreachable> for Problem {
    fn from(error: Unreachable) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let retry = (self.status == StatusCode::SERVICE_UNAVAILABLE).then_some([("retry-after", "2")]);
        (self.status, retry, Json(serde_json::json!({ "error": self.error }))).into_response()
    }
}
