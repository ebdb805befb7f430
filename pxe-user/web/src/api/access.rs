//! Access control: which requests each socket accepts.
//!
//! | socket | read | write |
//! |---|---|---|
//! | Unix socket (root's) | yes | yes |
//! | loopback, no token | every user of this host | no: use the Unix socket |
//! | TCP with a token | with the token | with the token |
//!
//! An address beyond loopback needs a token. With a token, these paths stay open: the dashboard's own files, which hold
//! nothing of the fleet and ask for the token, `/login` and `/healthz`.
//!
//! Browsers are a second danger: a page of another site can make a browser send requests to pxed. Three checks prevent
//! that. Loopback checks `Host` (DNS rebinding). Each write needs a header or a content type that a page of another
//! site cannot set without a CORS preflight. A request that the browser marks as coming from another site is rejected,
//! except for the dashboard's own files, so that links to the dashboard work.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use super::metrics::{Counts, Refused};
use super::page;
use super::problem::Problem;
use super::sessions::{Sessions, digest};

/// The shortest token, in bytes. Nothing else limits how fast an attacker can guess.
pub const TOKEN_MIN: usize = 16;
/// A write must have this header, or JSON as content type.
pub const WRITE_HEADER: &str = "x-pxed";
const COOKIE: &str = "pxed";

/// The secret that gives access to the API. Only its digest is kept: digests have equal lengths, so the duration of a
/// comparison tells nothing.
#[derive(Clone)]
pub struct Token {
    bearer: [u8; 32],
    /// Sessions, which browsers hold instead of the token.
    sessions: Sessions,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// Why a token or its file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The system refuses to read the file.
    #[error("cannot read the token from {path}: {error}")]
    Unreadable {
        /// The token file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The file's mode lets every user of this host read it.
    #[error("every user of this host can read the token in {path}: chmod 600 it")]
    Public {
        /// The token file.
        path: PathBuf,
    },
    /// The text is too short, too long, or not visible ASCII.
    #[error(
        "a token is one line of {TOKEN_MIN} to 512 visible ASCII characters: \
         `head -c 24 /dev/urandom | base64` makes one"
    )]
    Unusable,
}

impl Token {
    /// A token from its text. White space around it is ignored.
    ///
    /// # Errors
    /// When the text is too short or too long, or has characters that no header can carry.
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if !(TOKEN_MIN..=512).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Unusable);
        }
        Ok(Self { bearer: digest(text), sessions: Sessions::default() })
    }

    /// A token from a file with one line.
    ///
    /// # Errors
    /// When the file cannot be read, every user can read it, or it holds no token.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        use std::os::unix::fs::PermissionsExt as _;
        let unreadable = |error| TokenError::Unreadable { path: path.to_owned(), error };
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if metadata.permissions().mode() & 0o004 != 0 {
            return Err(TokenError::Public { path: path.to_owned() });
        }
        Self::new(&std::fs::read_to_string(path).map_err(unreadable)?)
    }

    fn is(&self, text: &str) -> bool {
        digest(text.trim()).ct_eq(&self.bearer).into()
    }

    /// Whether a request carries this token, or the cookie of a session that the token began.
    fn opens(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.split_once(' '));
        if let Some((_, text)) = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) {
            return self.is(text);
        }
        let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(name, value)| name == COOKIE && self.sessions.has(Instant::now(), value))
    }
}

/// What a listener requires of its clients.
#[derive(Clone, Debug)]
pub(super) enum ListenerAccess {
    /// The Unix socket: its mode restricts access, so no token is required.
    Local,
    /// TCP on loopback without a token: read-only.
    Loopback,
    /// TCP with a token. `loopback` means that other hosts cannot reach the address.
    Token { token: Arc<Token>, loopback: bool },
}

/// Middleware that rejects requests that the listener does not accept.
pub(super) async fn guard(
    State((door, counts)): State<(ListenerAccess, Counts)>,
    request: Request,
    next: Next,
) -> Response {
    match door.admit(&request) {
        Ok(()) => next.run(request).await,
        Err((reason, problem)) => {
            counts.refused(reason);
            let mut response = problem.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

impl ListenerAccess {
    fn admit(&self, request: &Request) -> Result<(), (Refused, Problem)> {
        let headers = request.headers();
        let write = !matches!(*request.method(), Method::GET | Method::HEAD);
        let path = request.uri().path();
        if matches!(self, Self::Loopback | Self::Token { loopback: true, .. }) && !names_loopback(headers) {
            let text = "a loopback address accepts the host name localhost only: use an address like http://localhost:PORT/";
            return Err((Refused::Host, Problem::new(StatusCode::FORBIDDEN, text)));
        }
        if is_foreign(headers) && !page::is_file(path) {
            let text = "requests from pages of other sites are rejected";
            return Err((Refused::Site, Problem::new(StatusCode::FORBIDDEN, text)));
        }
        match self {
            Self::Loopback if write => {
                let text =
                    "this address is read-only: use the Unix socket (`pxed again`), or configure a token";
                return Err((Refused::ReadOnly, Problem::new(StatusCode::FORBIDDEN, text)));
            }
            Self::Token { token, .. } if !open(path) && !token.opens(headers) => {
                let text = "a token is needed: `Authorization: Bearer ...`, or the form on the page";
                return Err((Refused::Token, Problem::new(StatusCode::UNAUTHORIZED, text)));
            }
            _ => {}
        }
        if write && !is_meant(headers) {
            let text = "a write needs the header `X-Pxed: 1`, or JSON";
            return Err((Refused::Header, Problem::new(StatusCode::FORBIDDEN, text)));
        }
        Ok(())
    }
}

/// Paths that need no token: they reveal nothing of the fleet.
fn open(path: &str) -> bool {
    path == "/healthz" || path == "/login" || page::is_file(path)
}

/// Whether `Host` is a name of loopback. Any port is accepted, since tunnels change it.
fn names_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost")
        || name == "[::1]"
        || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a request has a header that a page of another site cannot set without a CORS preflight.
pub(super) fn is_meant(headers: &HeaderMap) -> bool {
    headers.contains_key(WRITE_HEADER) || is_json(headers)
}

/// Whether a browser marks the request as sent by a page of another origin (Fetch Metadata, `Sec-Fetch-Site`). Another
/// port of this host is another origin. Browsers send the header to loopback and over TLS; programs do not.
fn is_foreign(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// The body of `POST /login`.
#[derive(Deserialize)]
pub(super) struct Login {
    token: String,
}

/// Begins a session for a browser that sends the token.
pub(super) async fn login(
    State((token, counts)): State<(Arc<Token>, Counts)>,
    Json(login): Json<Login>,
) -> Result<Response, Problem> {
    if !token.is(&login.token) {
        counts.refused(Refused::Token);
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "this is not the token"));
    }
    let mut random = [0; 32];
    let whole = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    if whole != Ok(random.len()) {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the system has no random numbers: try again",
        ));
    }
    let session = token.sessions.begin(Instant::now(), random);
    let cookie = format!("{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict");
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// Adds headers that restrict browsers (CSP and the like) to every response.
pub(super) async fn strict(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        ),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_pass() {
        for (host, passes) in [
            ("localhost", true),
            ("LOCALHOST:8080", true),
            ("127.0.0.1:1", true),
            ("127.9.9.9", true),
            ("[::1]:80", true),
            ("evil.example", false),
            ("evil.example:80", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("10.0.0.1", false),
            ("localhost:80@evil", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            assert_eq!(names_loopback(&headers), passes, "{host}");
        }
        assert!(!names_loopback(&HeaderMap::new()));
    }

    #[test]
    fn a_token_is_long_visible_and_private() {
        use std::os::unix::fs::PermissionsExt as _;
        for wrong in ["", "short", "has a space in the middle", "ümläute-ümläute-ümläute"] {
            assert!(matches!(Token::new(wrong), Err(TokenError::Unusable)), "{wrong}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        assert!(matches!(Token::read(&path), Err(TokenError::Unreadable { .. })));
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Token::read(&path), Err(TokenError::Public { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let token = Token::read(&path).unwrap();
        assert!(token.is("0123456789abcdef") && !token.is("0123456789abcdeg") && !token.is(""));
        assert!(!format!("{token:?}").contains("0123"));
    }
}
