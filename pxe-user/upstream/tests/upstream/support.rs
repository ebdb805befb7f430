//! A follower with a cache of its own, and what a machine would get of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pxe_upstream::FetchError;
use pxe_upstream::cache::Cache;
use pxe_upstream::follower::{Follower, Outcome, Turn};
use pxe_upstream::source::{Source, endpoint};
use pxe_upstream::target::{Settings, Target};
use tempfile::TempDir;

/// How often a source is asked.
pub(crate) const EVERY: Duration = Duration::from_secs(300);

pub(crate) struct Place {
    folder: TempDir,
    pub(crate) max: u64,
    pub(crate) settings: Settings,
}

impl Place {
    /// A place for a cache of 1000 bytes. `authority` is that of the servers, in PEM.
    pub(crate) fn new(authority: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        fs::write(&ca_file, authority).unwrap();
        let settings = Settings {
            ca_file: Some(ca_file),
            s3_endpoint: None,
            s3_region: "us-east-1".into(),
            s3_credentials_file: None,
        };
        Self { folder, max: 1000, settings }
    }

    /// The same with an S3 store, and the key's ID and secret.
    pub(crate) fn with_s3(mut self, server: &str, (id, secret): (&str, &str)) -> Self {
        let file = self.folder.path().join("key");
        fs::write(&file, format!("{id}\n{secret}\n")).unwrap();
        self.settings.s3_endpoint = Some(endpoint(server).unwrap());
        self.settings.s3_credentials_file = Some(file);
        self
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// The sizes of the cache's files, sorted, without notes of versions.
    pub(crate) fn sizes(&self) -> Vec<u64> {
        let entries = fs::read_dir(self.cache()).unwrap().map(|entry| entry.unwrap());
        let is_note = |name: &str| name.starts_with("pxed-image-");
        let files = entries.filter(|entry| !is_note(entry.file_name().to_str().unwrap()));
        let mut sizes: Vec<_> = files.map(|entry| entry.metadata().unwrap().len()).collect();
        sizes.sort_unstable();
        sizes
    }

    /// A daemon's start with these sources.
    pub(crate) fn start(&self, sources: Vec<Source>) -> Running {
        let target = Arc::new(Target::open(self.settings.clone(), &sources));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let cache = Cache::new(self.cache(), self.max);
        let mut follower = Follower::new(target, cache, EVERY, runtime);
        follower.replace(sources, Duration::ZERO);
        Running { follower, now: Duration::ZERO, cache: self.cache() }
    }
}

pub(crate) struct Running {
    pub(crate) follower: Follower,
    pub(crate) now: Duration,
    cache: PathBuf,
}

impl Running {
    /// Lets time pass until a source is due, and asks it.
    pub(crate) fn turn(&mut self) -> Result<Outcome, FetchError> {
        self.now += self.follower.pause(self.now);
        let now = self.now;
        let Turn { outcome, .. } = self.follower.turn(|| now).expect("a source is due");
        outcome
    }

    /// The files of an image that machines get, by name.
    pub(crate) fn served(&self, image: &str) -> BTreeMap<String, String> {
        let stored = self.follower.stored();
        let files = stored.get(image).map(|stored| stored.files.clone()).unwrap_or_default();
        let read = |path: &str| fs::read_to_string(self.cache.join(path)).unwrap();
        files.iter().map(|(name, path)| (name.to_string(), read(path))).collect()
    }
}

pub(crate) fn source(url: &str, files: &[&str], pins: &[(&str, &str)]) -> Source {
    let pins = pins.iter().map(|(name, pin)| ((*name).to_owned(), (*pin).to_owned())).collect();
    Source::new("installer", url, files.iter().map(|name| (*name).to_owned()), &pins).unwrap()
}

pub(crate) fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// A look that has found a new version.
pub(crate) fn new(files: usize, bytes: u64) -> Result<Outcome, FetchError> {
    Ok(Outcome::New { files, bytes })
}
