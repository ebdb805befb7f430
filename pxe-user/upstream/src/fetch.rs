//! One look at one source: ask, download what has changed, verify, and ask again, so that a version is whole.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetResult, ObjectStore};
use pxe_content::boot::Digest;

use crate::cache::{Cache, InUse};
use crate::error::FetchError;
use crate::name::is_plain;
use crate::source::Source;
use crate::target::Target;
use crate::version::{StoredFile, Version};

/// The time limit for more bytes of a file, and for more of a list.
const STALL_MAX: Duration = Duration::from_secs(30);
/// The most files of an image.
const FILES_MAX: usize = 4096;
/// The most characters of a cause.
const CAUSE_MAX: usize = 300;
/// How often a source is looked at until two looks in a row see the same.
const ROUNDS: usize = 4;

/// What one look needs.
pub(crate) struct Look<'a> {
    source: &'a Source,
    cache: &'a Cache,
    in_use: InUse,
    store: Box<dyn ObjectStore>,
    folder: Path,
}

impl<'a> Look<'a> {
    pub(crate) fn new(
        source: &'a Source,
        target: &Target,
        cache: &'a Cache,
        in_use: InUse,
    ) -> Result<Self, FetchError> {
        let (store, folder) = target.store(source)?;
        Ok(Self { source, cache, in_use, store, folder })
    }

    /// The version that the source has now, complete in the cache. `current` is the one before.
    pub(crate) async fn fetch(&mut self, current: Option<&Version>) -> Result<Version, FetchError> {
        let from = self.source.location.to_string();
        let mut known = current.filter(|version| version.source == from).cloned().unwrap_or_default();
        // A file that replaces another one does so together with all others: the second look must see no change.
        for _ in 0..ROUNDS {
            let found = Version { source: from.clone(), files: self.files(&known.files).await? };
            if found == known || found.is_what_is_pinned(self.source) {
                return Ok(found);
            }
            self.in_use.extend(found.files.values().map(|file| file.sha256));
            known = found;
        }
        Err(FetchError::Changing(from))
    }

    /// Asks for the files without fetching any. Returns their number.
    pub(crate) async fn probe(&self) -> Result<usize, FetchError> {
        if self.source.is_whole_prefix() {
            return self.list().await.map(|found| found.len());
        }
        for name in self.source.files.keys() {
            let (url, path) = (self.source.url_of(name), self.path_of(name)?);
            let options = GetOptions { head: true, ..GetOptions::default() };
            let got = tokio::time::timeout(STALL_MAX, self.store.get_opts(&path, options)).await;
            got.map_err(|_| FetchError::silent(&url, STALL_MAX))?
                .map_err(|error| self.failed(&url, error))?;
        }
        Ok(self.source.files.len())
    }

    async fn files(
        &self,
        known: &BTreeMap<String, StoredFile>,
    ) -> Result<BTreeMap<String, StoredFile>, FetchError> {
        let mut files = BTreeMap::new();
        let wanted = match self.source.is_whole_prefix() {
            true => self.list().await?,
            false => self.source.files.iter().map(|(name, pin)| (name.clone(), (*pin, None))).collect(),
        };
        let mut in_use = self.in_use.clone();
        for (name, (pin, etag)) in wanted {
            let before = known.get(&name).filter(|file| self.cache.size_of(&file.digest()).is_some());
            let is_listed_same = etag.is_some() && before.is_some_and(|before| before.etag == etag);
            let file = match before.filter(|_| is_listed_same) {
                Some(before) => before.clone(),
                None => self.file(&name, pin, before, &in_use).await?,
            };
            in_use.insert(file.sha256);
            files.insert(name, file);
        }
        Ok(files)
    }

    /// The objects below the prefix, each with its ETag.
    async fn list(&self) -> Result<BTreeMap<String, (Option<Digest>, Option<String>)>, FetchError> {
        let at = self.source.location.to_string();
        let mut found = BTreeMap::new();
        let mut listed = self.store.list(Some(&self.folder));
        loop {
            let next = tokio::time::timeout(STALL_MAX, listed.try_next()).await;
            let next = next.map_err(|_| FetchError::silent(&at, STALL_MAX))?;
            let Some(object) = next.map_err(|error| self.failed(&at, error))? else { break };
            let name = object.location.as_ref().strip_prefix(self.folder.as_ref()).unwrap_or_default();
            let name = name.trim_start_matches('/').to_owned();
            // Tools that show folders make an empty object of the folder's name.
            if name.is_empty() {
                continue;
            }
            if !is_plain(&name) {
                return Err(FetchError::Name { folder: at, name });
            }
            found.insert(name, (None, object.e_tag));
            if found.len() > FILES_MAX {
                return Err(FetchError::TooMany { url: at, max: FILES_MAX });
            }
        }
        if found.is_empty() { Err(FetchError::Empty(at)) } else { Ok(found) }
    }

    /// A file as it is now: from the cache if it is pinned or has not changed, else downloaded.
    async fn file(
        &self,
        name: &str,
        pin: Option<Digest>,
        before: Option<&StoredFile>,
        in_use: &InUse,
    ) -> Result<StoredFile, FetchError> {
        if let Some(pin) = pin
            && let Some(size) = self.cache.size_of(&pin)
        {
            return Ok(StoredFile { sha256: pin.0, size, etag: None, modified: None });
        }
        let url = self.source.url_of(name);
        let mut options = GetOptions::default();
        if let Some(before) = before.filter(|_| pin.is_none()) {
            options.if_none_match.clone_from(&before.etag);
        }
        let path = self.path_of(name)?;
        let got = tokio::time::timeout(STALL_MAX, self.store.get_opts(&path, options)).await;
        match (got.map_err(|_| FetchError::silent(&url, STALL_MAX))?, before) {
            (Err(Error::NotModified { .. }), Some(before)) => Ok(before.clone()),
            (Err(error), _) => Err(self.failed(&url, error)),
            (Ok(got), _) => self.download(&url, got, pin, before, in_use).await,
        }
    }

    async fn download(
        &self,
        url: &str,
        got: GetResult,
        pin: Option<Digest>,
        before: Option<&StoredFile>,
        in_use: &InUse,
    ) -> Result<StoredFile, FetchError> {
        let (etag, size) = (got.meta.e_tag.clone(), got.meta.size);
        // `object_store` gives 1970 if the server sends no time.
        let modified = Some(got.meta.last_modified.timestamp_millis()).filter(|modified| *modified > 0);
        if pin.is_none() && etag.is_none() {
            if modified.is_none() {
                return Err(FetchError::NoValidator(url.to_owned()));
            }
            // Without an ETag the time and the size tell: what comes is not read.
            if let Some(before) = before.filter(|before| before.modified == modified && before.size == size) {
                return Ok(before.clone());
            }
        }
        let mut partial = self.cache.begin(url, size, in_use)?;
        let mut stream = got.into_stream();
        loop {
            let next = tokio::time::timeout(STALL_MAX, stream.next()).await;
            let next = next.map_err(|_| FetchError::silent(url, STALL_MAX))?;
            let truncated =
                |got: u64, why: String| FetchError::Truncated { url: url.to_owned(), got, size, why };
            match next {
                Some(Ok(bytes)) if partial.size() + bytes.len() as u64 > size => {
                    return Err(truncated(partial.size(), "more bytes came".into()));
                }
                Some(Ok(bytes)) => partial.write(&bytes)?,
                Some(Err(error)) => return Err(truncated(partial.size(), causes(&error))),
                None if partial.size() < size => {
                    return Err(truncated(partial.size(), "the connection ended".into()));
                }
                None => break,
            }
        }
        let found = partial.digest();
        if let Some(pinned) = pin.filter(|pin| *pin != found) {
            return Err(FetchError::Digest { url: url.to_owned(), found, pinned });
        }
        partial.finish()?;
        Ok(StoredFile { sha256: found.0, size, etag, modified })
    }

    fn path_of(&self, name: &str) -> Result<Path, FetchError> {
        let wrong = || FetchError::Name { folder: self.source.location.to_string(), name: name.to_owned() };
        let whole =
            if self.folder.as_ref().is_empty() { name.to_owned() } else { format!("{}/{name}", self.folder) };
        Path::parse(whole).map_err(|_| wrong())
    }

    /// The reason of an error of the store.
    fn failed(&self, url: &str, error: Error) -> FetchError {
        let url = url.to_owned();
        match error {
            Error::NotFound { .. } => FetchError::NotFound(url),
            Error::PermissionDenied { source, .. } | Error::Unauthenticated { source, .. } => {
                FetchError::Denied { url, why: causes(source.as_ref()) }
            }
            Error::InvalidPath { source } => {
                FetchError::Name { folder: self.source.location.to_string(), name: source.to_string() }
            }
            error => {
                let why = causes(&error);
                // For a list, the store's error has no kind of its own.
                let is_denied =
                    ["401", "403"].iter().any(|status| why.contains(&format!("status code: {status}")));
                if is_denied { FetchError::Denied { url, why } } else { FetchError::Unreachable { url, why } }
            }
        }
    }
}

/// The last cause of an error, in one line: the others repeat the URL or say how often it was tried. It may contain the
/// server's own words, so it is cut.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let text = last.to_string().replace(char::is_control, " ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= CAUSE_MAX {
        text
    } else {
        text.chars().take(CAUSE_MAX).chain("...".chars()).collect()
    }
}
