//! [`ImageSources`]: the thread that fetches images from elsewhere.
//!
//! ```text
//! settings --replace--> thread: ask, download, verify (pxe_upstream) --> LiveConfig::fetched: the catalogue, whole or not at all
//!                                                                    `-> LiveConfig::show_images: log, board, metrics
//! ```
//! Only this thread waits for a server or for the cache's disk. Without an image from elsewhere there is no such thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::confined::ThreadPermit;
use super::reload::LiveConfig;
use crate::config::Settings;
use pxe_engine::clock::Clock;
use pxe_engine::gauges::ImageGauges;
use pxe_proto::time::Timestamp;
use pxe_upstream::FetchError;
use pxe_upstream::follower::{Follower, Outcome, Turn};
use pxe_upstream::source::Source;

/// The handle of the thread. Dropping it ends the thread after the look that it is at.
pub(super) struct ImageSources {
    replaced: Sender<Vec<Source>>,
}

impl ImageSources {
    /// Starts the thread. `None` if no image comes from elsewhere.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(super) fn start(
        permit: ThreadPermit,
        settings: &Settings,
        live: &Arc<LiveConfig>,
        clock: Clock,
    ) -> Result<Option<Self>> {
        let (Some(target), Some(cache)) = (live.image_target.clone(), settings.cache()) else {
            return Ok(None);
        };
        let runtime = permit.runtime(tokio::runtime::Builder::new_current_thread().enable_all());
        let runtime = runtime.context("cannot start the runtime that fetches images")?;
        let (replaced, received) = channel();
        let thread = Thread {
            follower: Follower::new(target, cache, settings.upstream.every, runtime),
            live: Arc::clone(live),
            clock,
            received,
            shown: BTreeMap::new(),
        };
        let sources = settings.sources.clone();
        permit.spawn("pxed-images", move || thread.run(sources))?;
        Ok(Some(Self { replaced }))
    }

    /// Follows these sources from now on.
    pub(super) fn replace(&self, sources: Vec<Source>) {
        // Sending fails only if the thread has ended, which no error makes it do.
        let _ = self.replaced.send(sources);
    }
}

/// The thread.
struct Thread {
    follower: Follower,
    live: Arc<LiveConfig>,
    clock: Clock,
    received: Receiver<Vec<Source>>,
    /// What the board shows of each image.
    shown: BTreeMap<Arc<str>, ImageGauges>,
}

impl Thread {
    fn run(mut self, sources: Vec<Source>) {
        self.replace(sources);
        for image in self.follower.verify() {
            tracing::warn!(
                event = "image_damaged",
                image = &*image,
                "files of this image have changed in the cache, so pxed fetches them again: check the disk"
            );
        }
        self.publish();
        loop {
            let clock = self.clock;
            match self.follower.turn(|| since_start(clock)) {
                Some(turn) => self.show(turn),
                // A changed configuration waits for the look that is under way, and for no other one.
                None => match self.received.recv_timeout(self.follower.pause(since_start(clock))) {
                    Ok(sources) => self.take(sources),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                },
            }
            while let Ok(sources) = self.received.try_recv() {
                self.take(sources);
            }
        }
    }

    fn take(&mut self, sources: Vec<Source>) {
        self.replace(sources);
        self.publish();
    }

    fn replace(&mut self, sources: Vec<Source>) {
        let before = std::mem::take(&mut self.shown);
        for source in &sources {
            let gauges = ImageGauges {
                name: source.image.to_string(),
                source: source.location.to_string(),
                ..before.get(&source.image).cloned().unwrap_or_default()
            };
            self.shown.insert(Arc::clone(&source.image), gauges);
        }
        self.follower.replace(sources, since_start(self.clock));
    }

    fn show(&mut self, Turn { image, outcome }: Turn) {
        let Some(shown) = self.shown.get_mut(&image) else { return };
        let has_failed_before = shown.problem.is_some();
        match &outcome {
            Ok(outcome) => {
                shown.fetched += u64::from(*outcome != Outcome::Same);
                (shown.reason, shown.problem) = (None, None);
            }
            Err(error) => fail(shown, error),
        }
        // Also if nothing is new: the catalogue may have rejected the last version, because of another image.
        self.publish();
        let image = &*image;
        if has_failed_before && outcome.is_ok() {
            tracing::info!(event = "image_source_works", image, "the image's source answers again");
        }
        if let Ok(Outcome::New { files, bytes }) = outcome {
            let text = "a new version of the image is complete: machines get it from now on";
            tracing::info!(event = "image_fetched", image, files, bytes, "{text}");
        }
    }

    fn publish(&mut self) {
        let stored = self.follower.stored();
        for (image, shown) in &mut self.shown {
            shown.files = stored.get(image).map_or(0, |stored| stored.files.len() as u64);
        }
        self.live.show_images(self.shown.values().cloned().collect());
        if let Err(error) = self.live.fetched(stored) {
            tracing::error!(
                event = "image_refused",
                "cannot serve the fetched images; those before stay: {error:#}"
            );
        }
    }
}

/// Notes a failure. Only a new reason is logged, because the source is asked again and again.
fn fail(shown: &mut ImageGauges, error: &FetchError) {
    let meanwhile = match shown.files {
        0 => "Until then machines get nothing of this image",
        _ => "Until then machines get the version before",
    };
    let (reason, text) = (error.reason(), format!("image {}: {error}. {meanwhile}", shown.name));
    if shown.reason != Some(reason) {
        tracing::error!(event = "image_source_problem", image = shown.name, reason, "{text}");
    }
    tracing::debug!(image = shown.name, reason, "cannot fetch now: {error}");
    match shown.failures.iter_mut().find(|(known, _)| *known == reason) {
        Some((_, count)) => *count += 1,
        None => shown.failures.push((reason, 1)),
    }
    (shown.reason, shown.problem) = (Some(reason), Some(text));
}

fn since_start(clock: Clock) -> Duration {
    clock.now().since(Timestamp::default())
}
