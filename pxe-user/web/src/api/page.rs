//! The dashboard's files, compiled into the program. `app.js` is the entry point and shows how the modules depend on
//! each other.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

/// The entry of [`FILES`] for a script.
macro_rules! script {
    ($name:literal) => {
        (concat!("/", $name), "text/javascript; charset=utf-8", include_str!(concat!("page/", $name)))
    };
}

/// Path, media type, content.
const FILES: [(&str, &str, &str); 15] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    script!("app.js"),
    script!("link.js"),
    script!("board.js"),
    script!("wall.js"),
    script!("machine.js"),
    script!("server.js"),
    script!("header.js"),
    script!("list.js"),
    script!("fleet.js"),
    script!("api.js"),
    script!("elements.js"),
    script!("words.js"),
    script!("times.js"),
];

/// Browsers ask for an icon by themselves. pxed has none, and answers 204 so that it is not an error.
const ICON: &str = "/favicon.ico";

/// Whether a path is one of the page's files.
pub(super) fn is_file(path: &str) -> bool {
    path == ICON || FILES.iter().any(|(name, ..)| *name == path)
}

pub(super) fn router() -> Router {
    let mut router = Router::new().route(ICON, get(StatusCode::NO_CONTENT));
    for (path, kind, content) in FILES {
        let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")];
        router = router.route(path, get(move || async move { (headers, content) }));
    }
    router
}

/// Serves [`OPENAPI`].
pub(super) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

/// The description of the API: `docs/openapi.json`.
pub(super) const OPENAPI: &str = include_str!("../../../../docs/openapi.json");
