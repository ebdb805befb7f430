//! The files to serve, with those that the cache has of images from elsewhere. The daemon's start and the commands that look at
//! its files use the same code.

use std::collections::BTreeMap;

use crate::config::Settings;
use pxe_content::boot;
use pxe_upstream::follower::{StoredImages, cached};

/// The files to serve, as the cache is now. It reads the cache.
#[must_use]
pub fn files(settings: &Settings) -> boot::Config {
    with(settings, &stored(settings))
}

/// The files to serve, with these of images from elsewhere.
#[must_use]
pub fn with(settings: &Settings, stored: &StoredImages) -> boot::Config {
    let mut files = settings.files();
    for image_spec in &mut files.image_specs {
        if let (Some(own), Some(found)) = (&mut image_spec.stored, stored.get(&image_spec.name)) {
            own.clone_from(found);
        }
    }
    files
}

/// What the cache has of the images from elsewhere.
#[must_use]
pub fn stored(settings: &Settings) -> StoredImages {
    let Some(cache) = settings.cache() else { return BTreeMap::new() };
    let versions = cached(&cache, &settings.sources).into_iter();
    versions.map(|(image, version)| (image, cache.stored(&version))).collect()
}
