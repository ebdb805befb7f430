//! Where an image's files are, as the configuration names it. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use hyper::Uri;
use pxe_content::boot::Digest;

use crate::name::is_plain;

/// A server: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// Whether the connection is TLS.
    pub is_tls: bool,
    /// The name or address, without the brackets of an IPv6 address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        if self.host.contains(':') {
            return write!(f, "{scheme}://[{}]:{}", self.host, self.port);
        }
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// A folder of files elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder of a web server. The path begins and ends with `/`, and is percent-encoded as in the URL.
    Web(Server, String),
    /// The objects of a bucket whose keys begin with the prefix, which is empty or ends with `/`.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix.
        prefix: String,
    },
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web(server, path) => write!(f, "{server}{path}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// Why a source is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It is no URL of a known kind.
    #[error("`{0}` is no source: write https://HOST/FOLDER/ or s3://BUCKET/PREFIX/")]
    Url(String),
    /// It does not end with a slash.
    #[error(
        "`{0}` must end with `/`, because it is the folder of the image's files: name the files as `files`"
    )]
    Folder(String),
    /// It has a user, a password or a query.
    #[error(
        "a source has no user, password or query, because every user can read this file: use `s3_credentials_file` in [upstream]"
    )]
    Secret,
    /// A file's name leads elsewhere.
    #[error("`{0}` is no name of a file: write a relative name without `..` and `\\`")]
    Name(String),
    /// A digest is none.
    #[error("`{0}` is no SHA-256: write 64 hexadecimal digits, as `sha256sum` prints them")]
    Digest(String),
    /// A web server has no list of files.
    #[error(
        "a web server has no list of its files: name them by `kernel`, `initrd`, `boot_files` or `files`"
    )]
    NoFiles,
    /// Files without a digest come over a connection without TLS.
    #[error(
        "without TLS, somebody on the way can replace the files: use https://, or pin every file by `sha256` (not pinned: {0})"
    )]
    Plain(String),
}

/// Where an image's files are, and which they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The image's name.
    pub image: Arc<str>,
    /// The folder.
    pub location: Location,
    /// The files by name, each with the SHA-256 that it must have. Empty: all objects below an S3 prefix.
    pub files: BTreeMap<String, Option<Digest>>,
}

impl Source {
    /// Reads a source. `files` are the names of its files, and `pins` the SHA-256 of some of them.
    ///
    /// # Errors
    /// Why it is rejected.
    pub fn new(
        image: &str,
        url: &str,
        files: impl IntoIterator<Item = String>,
        pins: &BTreeMap<String, String>,
    ) -> Result<Self, SourceError> {
        let location = location(url)?;
        let mut all: BTreeMap<String, Option<Digest>> = files.into_iter().map(|name| (name, None)).collect();
        for (name, digest) in pins {
            let digest = parse_digest(digest).ok_or_else(|| SourceError::Digest(digest.clone()))?;
            all.insert(name.clone(), Some(digest));
        }
        if let Some(name) = all.keys().find(|name| !is_plain(name)) {
            return Err(SourceError::Name(name.clone()));
        }
        if matches!(location, Location::Web(..)) && all.is_empty() {
            return Err(SourceError::NoFiles);
        }
        let source = Self { image: image.into(), location, files: all };
        match &source.location {
            Location::Web(server, _) if !server.is_tls => source.require_pins()?,
            _ => {}
        }
        Ok(source)
    }

    /// Whether all objects below the prefix are the image's files.
    #[must_use]
    pub fn is_whole_prefix(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether the digest of every file is known. Such an image never changes.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        !self.files.is_empty() && self.files.values().all(Option::is_some)
    }

    /// Checks that the digest of every file is known.
    ///
    /// # Errors
    /// A file whose digest is not known.
    pub fn require_pins(&self) -> Result<(), SourceError> {
        match self.files.iter().find(|(_, pin)| pin.is_none()) {
            Some((name, _)) => Err(SourceError::Plain(name.clone())),
            None if self.files.is_empty() => Err(SourceError::Plain("all of them".into())),
            None => Ok(()),
        }
    }

    /// The URL of a file, for messages.
    #[must_use]
    pub fn url_of(&self, name: &str) -> String {
        format!("{}{name}", self.location)
    }
}

/// Reads the server of an S3 store: `https://HOST:PORT`.
///
/// # Errors
/// Why it is rejected.
pub fn endpoint(text: &str) -> Result<Server, SourceError> {
    let wrong = || SourceError::Url(text.to_owned());
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    match web_server(&uri)? {
        Some(server) if matches!(uri.path(), "" | "/") => Ok(server),
        _ => Err(wrong()),
    }
}

fn location(text: &str) -> Result<Location, SourceError> {
    let wrong = || SourceError::Url(text.to_owned());
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let server = web_server(&uri)?;
    let is_s3 = uri.scheme_str() == Some("s3") && uri.port().is_none();
    if (server.is_some() || is_s3) && !uri.path().ends_with('/') {
        return Err(SourceError::Folder(text.to_owned()));
    }
    match server {
        Some(server) => Ok(Location::Web(server, uri.path().to_owned())),
        None if is_s3 => {
            let prefix = uri.path().trim_start_matches('/').to_owned();
            if !prefix.is_empty() && !is_plain(prefix.trim_end_matches('/')) {
                return Err(SourceError::Name(prefix));
            }
            Ok(Location::S3 { bucket: uri.host().ok_or_else(wrong)?.to_owned(), prefix })
        }
        None => Err(wrong()),
    }
}

/// The server of a URL of the web. `None` if it is a URL of another kind.
fn web_server(uri: &Uri) -> Result<Option<Server>, SourceError> {
    if uri.query().is_some() || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(SourceError::Secret);
    }
    let is_tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Ok(None),
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    Ok((!host.is_empty()).then_some(Server { is_tls, host, port }))
}

pub(crate) fn parse_digest(text: &str) -> Option<Digest> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Digest(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn source(url: &str, files: &[&str], pins: &[(&str, &str)]) -> Result<Source, SourceError> {
        let pins = pins.iter().map(|(name, pin)| ((*name).to_owned(), (*pin).to_owned())).collect();
        Source::new("installer", url, files.iter().map(|name| (*name).to_owned()), &pins)
    }

    #[test]
    fn a_source_is_read_and_shown_with_its_port() {
        for (url, shown) in [
            ("https://files.example/a/", "https://files.example:443/a/"),
            ("https://[fd00::1]:8443/", "https://[fd00::1]:8443/"),
            ("s3://images/debian/12/", "s3://images/debian/12/"),
            ("s3://images/", "s3://images/"),
        ] {
            assert_eq!(source(url, &["vmlinuz"], &[]).unwrap().location.to_string(), shown);
        }
        let pinned = source("http://files.example/", &["vmlinuz"], &[("vmlinuz", PIN)]).unwrap();
        assert!(pinned.is_pinned() && !pinned.is_whole_prefix());
        assert_eq!(pinned.files["vmlinuz"].unwrap().to_string(), PIN);
        let whole = source("s3://images/", &[], &[]).unwrap();
        assert!(whole.is_whole_prefix() && !whole.is_pinned());
        assert_eq!(endpoint("https://s3.example").unwrap().port, 443);
    }

    #[test]
    fn a_wrong_source_is_rejected_with_the_remedy() {
        for (url, files, pins, words) in [
            ("ftp://files.example/", &["a"][..], &[][..], "s3://BUCKET"),
            ("files", &["a"], &[], "https://HOST"),
            ("https://files.example/vmlinuz", &["a"], &[], "must end with `/`"),
            ("https://user:secret@files.example/", &["a"], &[], "s3_credentials_file"),
            ("https://files.example/?token=secret", &["a"], &[], "s3_credentials_file"),
            ("https://files.example/", &[], &[], "no list of its files"),
            ("https://files.example/", &["../a"], &[], "relative name"),
            ("s3://images/a/../b/", &["a"], &[], "relative name"),
            ("https://files.example/", &[], &[("a", "12")], "64 hexadecimal digits"),
            ("http://files.example/", &["a", "b"], &[("a", PIN)], "not pinned: b"),
        ] {
            let error = source(url, files, pins).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("secret@"), "{url}: {error}");
        }
        for wrong in ["s3.example", "https://s3.example/path", "https://key@s3.example"] {
            endpoint(wrong).unwrap_err();
        }
    }
}
