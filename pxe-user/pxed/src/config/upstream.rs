//! Images from elsewhere: the `source` of an image, and what all sources share (`[upstream]`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::diagnostics::Diagnostics;
use super::problem::Severity;
use super::raw;
use pxe_content::boot::Stored;
use pxe_upstream::source::{Location, Source, endpoint};
use pxe_upstream::target;

/// The directory of the cache without `state`.
const CACHE: &str = "/var/cache/pxed";
/// The same below `state`. Its name begins as those of all files of the daemon.
const BELOW_STATE: &str = "pxed-images";

/// What all sources share (`[upstream]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// The directory of the cache. `None` for one below `state`, or the host's.
    pub cache: Option<PathBuf>,
    /// The most bytes in the cache.
    pub cache_max: u64,
    /// How often a source is asked for changes.
    pub every: Duration,
    /// Authorities, and the S3 store.
    pub target: target::Settings,
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        let target = target::Settings {
            ca_file: None,
            s3_endpoint: None,
            s3_region: "us-east-1".into(),
            s3_credentials_file: None,
        };
        Self { cache: None, cache_max: 8 << 30, every: Duration::from_secs(300), target }
    }
}

impl UpstreamSettings {
    /// The directory of the cache. `state` is the directory for what pxed knows of machines.
    pub(super) fn cache_directory(&self, state: Option<&Path>) -> PathBuf {
        let below = || state.map(|state| state.join(BELOW_STATE));
        self.cache.clone().or_else(below).unwrap_or_else(|| Path::new(CACHE).to_owned())
    }
}

/// Reads `[upstream]`.
pub(super) fn upstream(
    diagnostics: &mut Diagnostics<'_>,
    upstream: Spanned<raw::Upstream>,
) -> UpstreamSettings {
    let raw = upstream.into_inner();
    let default = UpstreamSettings::default();
    let minutes = diagnostics.at_least_one("every_minutes", raw.every_minutes);
    let server = raw.s3_endpoint.and_then(|text| {
        let read = endpoint(text.get_ref()).map_err(|_| {
            format!("`{}` is no S3 store: write https://HOST or https://HOST:PORT", text.get_ref())
        });
        diagnostics.accept(text.span(), read)
    });
    UpstreamSettings {
        cache: raw.cache,
        cache_max: diagnostics.mib("cache_mib", raw.cache_mib).unwrap_or(default.cache_max),
        every: minutes.map_or(default.every, |minutes| Duration::from_secs(60 * u64::from(minutes))),
        target: target::Settings {
            ca_file: raw.ca_file,
            s3_endpoint: server,
            s3_region: raw.s3_region.unwrap_or(default.target.s3_region),
            s3_credentials_file: raw.s3_credentials_file,
        },
    }
}

/// Reads the source of an image, if it has one. Its files are all that the image's keys name.
pub(super) fn source(diagnostics: &mut Diagnostics<'_>, name: &str, image: &raw::Image) -> Option<Source> {
    let Some(url) = &image.source else {
        if let Some(span) =
            image.files.first().map(Spanned::span).or(image.sha256.values().next().map(Spanned::span))
        {
            let text = "`files` and `sha256` need a `source`: the folder elsewhere that has the files";
            diagnostics.error(span, format!("image `{name}`: {text}"));
        }
        return None;
    };
    if image.root.is_some() {
        let text =
            "has `root` and `source`: name one of them, because its files come from here or from elsewhere";
        diagnostics.error(url.span(), format!("image `{name}` {text}"));
    }
    let named = image.kernel.iter().chain(&image.initrd).chain(&image.payload).chain(&image.files);
    let named = named.chain(image.boot_files.values());
    let named = named.map(|file| file.get_ref().trim_start_matches('/').to_owned());
    let pins = image.sha256.iter().map(|(name, pin)| (name.clone(), pin.get_ref().clone())).collect();
    let read = Source::new(name, url.get_ref(), named, &pins);
    diagnostics.accept(url.span(), read.map_err(|error| format!("image `{name}`: {error}")))
}

/// The files of an image from elsewhere, before any is there.
pub(super) fn stored(image: &raw::Image) -> Option<Stored> {
    image.source.as_ref().map(|_| Stored::default())
}

/// Checks what sources and `[upstream]` must have together.
pub(super) fn together(
    diagnostics: &mut Diagnostics<'_>,
    sources: &[(Source, usize)],
    upstream: &UpstreamSettings,
) {
    for (source, line) in sources.iter().filter(|(source, _)| matches!(source.location, Location::S3 { .. }))
    {
        let is_tls = upstream.target.s3_endpoint.as_ref().map(|server| server.is_tls);
        let error = match is_tls {
            None => {
                Err("s3:// needs the store's address: add `[upstream]` with `s3_endpoint = \"https://HOST\"`"
                    .into())
            }
            Some(false) => source.require_pins().map_err(|error| error.to_string()),
            Some(true) => Ok(()),
        };
        if let Err(error) = error {
            let text = format!("image `{}`: {error}", source.image);
            diagnostics.at(Some(*line), Severity::Error, text);
        }
    }
}
