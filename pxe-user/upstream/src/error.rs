//! Why an image is not fetched, with the remedy. Each reason has a label, which metrics count.

use std::path::PathBuf;
use std::time::Duration;

use pxe_content::boot::Digest;
use pxe_outbound::{NameError, SecretError, TlsError};

/// The labels of all reasons.
pub const REASONS: [&str; 17] = [
    "cache_full",
    "changing",
    "credentials",
    "denied",
    "digest",
    "disk",
    "empty",
    "name",
    "no_validator",
    "not_found",
    "outside",
    "tls",
    "too_large",
    "too_many",
    "truncated",
    "unreachable",
    "unresolved",
];

/// Why an image is not fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The name of the server did not resolve at the start.
    #[error(transparent)]
    Unresolved(#[from] NameError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The credentials' file cannot be used.
    #[error(transparent)]
    Credentials(#[from] SecretError),
    /// No image named this server at the start.
    #[error(
        "{0} was not named at the start, and the confined daemon can connect to no other server: restart pxed"
    )]
    Outside(String),
    /// The server does not answer, or answers with an error.
    #[error("cannot fetch {url}: {why}. Check that the server runs and that this host reaches it")]
    Unreachable {
        /// The file or folder.
        url: String,
        /// The reason.
        why: String,
    },
    /// The server rejects the credentials, or wants some.
    #[error(
        "the server rejects the request for {url}: {why}. Check the credentials (`s3_credentials_file` in [upstream], or systemd's \
         credential `s3-credentials`) and their rights to read and list"
    )]
    Denied {
        /// The file or folder.
        url: String,
        /// The server's reason.
        why: String,
    },
    /// There is no such file.
    #[error("{0} does not exist: put the file there, or correct the image's `source` and `files`")]
    NotFound(String),
    /// Nothing is below the prefix.
    #[error("{0} contains no file: upload the image's files, or correct its `source`")]
    Empty(String),
    /// The file is another one than the configuration pins.
    #[error(
        "{url} has the SHA-256 {found}, and the configuration pins {pinned}: pxed does not serve it. Put the right file there, or \
         correct `sha256`"
    )]
    Digest {
        /// The file.
        url: String,
        /// The SHA-256 of what the server sent.
        found: Digest,
        /// The SHA-256 of the configuration.
        pinned: Digest,
    },
    /// Fewer bytes came than the server announced.
    #[error("{url} ended after {got} of {size} bytes ({why}): pxed fetches it again")]
    Truncated {
        /// The file.
        url: String,
        /// The bytes that came.
        got: u64,
        /// The bytes that were announced.
        size: u64,
        /// The connection's error.
        why: String,
    },
    /// Changes of the file would not show.
    #[error(
        "the server sends neither ETag nor Last-Modified for {0}, so pxed cannot see changes: pin the file by `sha256`"
    )]
    NoValidator(String),
    /// The file is larger than the cache.
    #[error(
        "{url} has {size} bytes, and the cache holds {max}: raise `cache_mib` in [upstream], or correct `source`"
    )]
    TooLarge {
        /// The file.
        url: String,
        /// Its size.
        size: u64,
        /// The cache's limit.
        max: u64,
    },
    /// The folder has more files than any image.
    #[error("{url} has more than {max} files: name a folder that has only the image's files")]
    TooMany {
        /// The folder.
        url: String,
        /// The limit.
        max: usize,
    },
    /// The folder has a file whose name leads elsewhere.
    #[error(
        "{folder} has a file with the name {name:?}, which pxed cannot serve: rename it there. Names are relative, without `..`, `\\` \
         and control characters, and of 255 bytes at most"
    )]
    Name {
        /// The folder.
        folder: String,
        /// The name.
        name: String,
    },
    /// Old and new version do not fit beside each other.
    #[error(
        "the cache has no room for {url} ({size} bytes): images in use take {in_use} of {max} bytes. Raise `cache_mib` in [upstream]: \
         an old and a new version must fit"
    )]
    CacheFull {
        /// The file.
        url: String,
        /// Its size.
        size: u64,
        /// The bytes in use.
        in_use: u64,
        /// The cache's limit.
        max: u64,
    },
    /// The disk takes nothing.
    #[error("cannot {what} {}: {why}. Free some space, or name another directory as `cache` in [upstream]", .path.display())]
    Disk {
        /// What failed.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// The files changed at each look.
    #[error(
        "the files of {0} change while pxed fetches them: pxed tries again. Upload all files of a version together"
    )]
    Changing(String),
}

impl FetchError {
    /// The label of the reason, one of [`REASONS`].
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unresolved(_) => "unresolved",
            Self::Tls(_) => "tls",
            Self::Credentials(_) => "credentials",
            Self::Outside(_) => "outside",
            Self::Unreachable { .. } => "unreachable",
            Self::Denied { .. } => "denied",
            Self::NotFound(_) => "not_found",
            Self::Empty(_) => "empty",
            Self::Digest { .. } => "digest",
            Self::Truncated { .. } => "truncated",
            Self::NoValidator(_) => "no_validator",
            Self::TooLarge { .. } => "too_large",
            Self::TooMany { .. } => "too_many",
            Self::Name { .. } => "name",
            Self::CacheFull { .. } => "cache_full",
            Self::Disk { .. } => "disk",
            Self::Changing(_) => "changing",
        }
    }

    /// A server that does not answer in time.
    pub(crate) fn silent(url: &str, limit: Duration) -> Self {
        let why = format!("no answer for {} s", limit.as_secs());
        Self::Unreachable { url: url.to_owned(), why }
    }
}
