//! [`Follower`]: all images of a daemon that come from elsewhere. It blocks, so only a thread that nothing waits for may call it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pxe_content::boot::Stored;
use tokio::runtime::Runtime;

use crate::cache::{Cache, InUse};
use crate::error::FetchError;
use crate::fetch::Look;
use crate::schedule::Schedule;
use crate::source::Source;
use crate::target::Target;
use crate::version::Version;

/// What the catalogue needs of all images, by name.
pub type StoredImages = BTreeMap<Arc<str>, Stored>;

/// What one turn has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The image.
    pub image: Arc<str>,
    /// Whether a new version is complete, or why the image could not be fetched.
    pub outcome: Result<Outcome, FetchError>,
}

/// A look that worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The source has what the cache has.
    Same,
    /// A new version of so many files and bytes is complete.
    New {
        /// The files.
        files: usize,
        /// Their bytes.
        bytes: u64,
    },
}

/// The versions that a cache has for these sources.
#[must_use]
pub fn cached(cache: &Cache, sources: &[Source]) -> BTreeMap<Arc<str>, Version> {
    let version = |source: &Source| Some((Arc::clone(&source.image), cache.version(&source.image)?));
    sources.iter().filter_map(version).collect()
}

/// Asks a source for its files without fetching any, for `pxed check`. Returns their number.
///
/// # Errors
/// Why they could not be fetched.
pub async fn probe(source: &Source, target: &Target, cache: &Cache) -> Result<usize, FetchError> {
    Look::new(source, target, cache, InUse::new())?.probe().await
}

/// Follows sources.
#[derive(Debug)]
pub struct Follower {
    target: Arc<Target>,
    cache: Cache,
    every: Duration,
    sources: BTreeMap<Arc<str>, Source>,
    versions: BTreeMap<Arc<str>, Version>,
    schedule: Schedule,
    runtime: Runtime,
}

impl Follower {
    /// Follows no source yet. Asks each source `every` so often.
    #[must_use]
    pub fn new(target: Arc<Target>, cache: Cache, every: Duration, runtime: Runtime) -> Self {
        cache.tidy();
        let (sources, versions, schedule) = Default::default();
        Self { target, cache, every, sources, versions, schedule, runtime }
    }

    /// Follows these sources in place of those before, and asks all of them at once, because a reload should
    /// show what is new.
    pub fn replace(&mut self, sources: Vec<Source>, now: Duration) {
        self.sources = sources.into_iter().map(|source| (Arc::clone(&source.image), source)).collect();
        for image in self.sources.keys() {
            self.schedule.ask(Arc::clone(image), now);
        }
        let sources = &self.sources;
        self.schedule.retain(|image| sources.contains_key(image));
        self.versions.retain(|image, _| sources.contains_key(image));
        for (image, version) in cached(&self.cache, &self.sources.values().cloned().collect::<Vec<_>>()) {
            self.versions.entry(image).or_insert(version);
        }
    }

    /// How long nothing is due.
    #[must_use]
    pub fn pause(&self, now: Duration) -> Duration {
        self.schedule.pause(now)
    }

    /// What the catalogue needs of all images.
    #[must_use]
    pub fn stored(&self) -> StoredImages {
        self.versions.iter().map(|(image, version)| (Arc::clone(image), self.cache.stored(version))).collect()
    }

    /// Asks the source that is due. `None` if none is.
    pub fn turn(&mut self, now: impl Fn() -> Duration) -> Option<Turn> {
        let image = self.schedule.due(now())?;
        let outcome = self.look(&image);
        let is_pinned = self.sources.get(&image).is_some_and(Source::is_pinned);
        match &outcome {
            Ok(_) => self.schedule.succeeded(&image, now(), (!is_pinned).then_some(self.every)),
            Err(_) => self.schedule.failed(&image, now()),
        }
        Some(Turn { image, outcome })
    }

    fn look(&mut self, image: &Arc<str>) -> Result<Outcome, FetchError> {
        let Some(source) = self.sources.get(image) else { return Ok(Outcome::Same) };
        let current = self.versions.get(image);
        if current.is_some_and(|version| version.is_what_is_pinned(source)) {
            return Ok(Outcome::Same);
        }
        let in_use: InUse = self
            .versions
            .values()
            .flat_map(|version| version.files.values())
            .map(|file| file.sha256)
            .collect();
        let mut look = Look::new(source, &self.target, &self.cache, in_use)?;
        let found = self.runtime.block_on(look.fetch(current))?;
        if current == Some(&found) {
            return Ok(Outcome::Same);
        }
        self.cache.publish(image, &found)?;
        let is_same = current.is_some_and(|current| current.is_same(&found));
        let bytes = found.files.values().map(|file| file.size).sum();
        let outcome = if is_same { Outcome::Same } else { Outcome::New { files: found.files.len(), bytes } };
        self.versions.insert(Arc::clone(image), found);
        Ok(outcome)
    }

    /// Reads the cache's files again. Those that have changed on disk are removed and fetched again. Returns the images that
    /// are not whole.
    pub fn verify(&mut self) -> Vec<Arc<str>> {
        let cache = &self.cache;
        let broken = self.versions.extract_if(.., |_, version| !cache.verify(version));
        broken.map(|(image, _)| image).collect()
    }
}
