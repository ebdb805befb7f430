//! Errors as the API's clients see them: a status and `{"error": "a sentence"}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use pxe_fleet::handle::Unreachable;

/// Something that cannot be done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    error: String,
}

impl Problem {
    /// A problem with a sentence that says what to do.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }

    /// What was sent is not what this path takes.
    pub fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// Nobody by that name.
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
