//! [`OpenedSources`]: what images from elsewhere need from before the confinement: afterwards pxed can neither read a key nor
//! resolve a name.

use std::sync::Arc;

use crate::config::Settings;
use crate::image_cache;
use pxe_upstream::follower::StoredImages;
use pxe_upstream::target::Target;

/// What the start has opened.
pub(super) struct OpenedSources {
    /// What the cache has.
    pub(super) stored: StoredImages,
    /// Addresses, authorities and credentials. `None` if no image comes from elsewhere.
    pub(super) target: Option<Arc<Target>>,
}

impl OpenedSources {
    /// Reads the cache, and resolves the names of the servers. What does not work is shown later: pxed serves all the same.
    pub(super) fn open(settings: &Settings) -> Self {
        let is_needed = !settings.sources.is_empty();
        let open = || Arc::new(Target::open(settings.upstream.target.clone(), &settings.sources));
        Self { stored: image_cache::stored(settings), target: is_needed.then(open) }
    }

    /// The TCP ports of the servers.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.target.as_ref().map(|target| target.ports()).unwrap_or_default()
    }
}
