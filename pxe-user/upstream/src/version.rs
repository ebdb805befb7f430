//! The files of one version of an image, as the cache notes them.

use std::collections::BTreeMap;

use pxe_content::boot::Digest;
use serde::{Deserialize, Serialize};

use crate::name::is_plain;
use crate::source::Source;

/// A file of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// Its size in bytes.
    pub size: u64,
    /// The server's ETag, by which a change shows. `None` if it sends none.
    pub etag: Option<String>,
    /// The server's time of the last change, in milliseconds since 1970. `None` if it sends none.
    pub modified: Option<i64>,
}

impl StoredFile {
    /// Its SHA-256.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(self.sha256)
    }
}

/// The files of an image that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Where they come from. ETags are valid there only.
    pub source: String,
    /// The files by name.
    pub files: BTreeMap<String, StoredFile>,
}

impl Version {
    /// Whether machines get the same from both.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let contents = |version: &Self| -> Vec<(String, [u8; 32])> {
            version.files.iter().map(|(name, file)| (name.clone(), file.sha256)).collect()
        };
        contents(self) == contents(other)
    }

    /// Whether it is all that the source pins.
    #[must_use]
    pub fn is_what_is_pinned(&self, source: &Source) -> bool {
        let pinned = |(name, pin): (&String, &Option<Digest>)| {
            pin.is_some_and(|pin| self.files.get(name).is_some_and(|file| file.sha256 == pin.0))
        };
        source.is_pinned() && source.files.len() == self.files.len() && source.files.iter().all(pinned)
    }

    /// Whether all names are plain: a note on disk may have been changed.
    pub(crate) fn has_plain_names(&self) -> bool {
        self.files.keys().all(|name| is_plain(name))
    }
}
