//! Asks the sources of images from elsewhere for their files, and fetches none.

use super::report::Report;
use crate::command::options::block_on;
use crate::config::{Config, Settings};
use pxe_upstream::FetchError;
use pxe_upstream::follower::probe;
use pxe_upstream::target::Target;

pub(super) fn examine(report: &mut Report, file: &Config, settings: &Settings) {
    let Some(cache) = settings.cache() else { return };
    let target = Target::open(settings.upstream.target.clone(), &settings.sources);
    for source in &settings.sources {
        let line = file.line_of_image(&source.image);
        match block_on(async { Ok(probe(source, &target, &cache).await) }) {
            Ok(Ok(_)) => {}
            // pxed serves the other images, and tries again.
            Ok(Err(error @ FetchError::Unreachable { .. })) => {
                report.warning(
                    line,
                    format!("image `{}`: {error}. Until then pxed serves what its cache has", source.image),
                );
            }
            Ok(Err(error)) => report.error(line, format!("image `{}`: {error}", source.image)),
            Err(error) => report.error(line, format!("{error:#}")),
        }
    }
}
