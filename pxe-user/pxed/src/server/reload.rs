//! The settings in force, and their replacement while the daemon runs: as a whole, or not at all. Workers and web read what is here
//! through arc-swap; the loader and the supervisor's look at the file replace it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use arc_swap::{ArcSwap, ArcSwapOption};
use pxe_common::rate_limit::Rates;
use pxe_common::segment::Ranks;
use tokio::sync::Notify;

use super::opened_sources::OpenedSources;
use super::segment_view::{Found, SegmentView};
use super::shared_ledger::about;
use crate::config::{Effect, Settings};
use crate::image_cache;
use crate::offering::Offering;
use pxe_content::boot::Catalogue;
use pxe_content::rules::{Access, Policy};
use pxe_engine::gauges::{ImageGauges, SegmentGauges};
use pxe_engine::worker::queues::LoaderQueue;
use pxe_fleet::thread::About;
use pxe_upstream::follower::StoredImages;
use pxe_upstream::target::Target;

/// Reads the settings again: the configuration file, below the same command line.
pub struct ConfigReader {
    file: Option<PathBuf>,
    read: Box<dyn Fn() -> Result<Offering> + Send + Sync>,
}

/// The outcome of a look at the file.
pub(super) enum ReloadOutcome {
    /// The file has not changed, or there is none.
    Nothing,
    /// The file was applied. These settings are in force.
    Taken(Arc<Settings>),
    /// The file was rejected, for this reason.
    Refused(anyhow::Error),
}

/// What distinguishes the versions of a file: inode, time of the last change of its metadata (s, ns), length.
type Stamp = (u64, i64, i64, u64);

#[derive(Debug)]
struct Stamps {
    read: Option<Stamp>,
    seen: Option<Stamp>,
}

impl ConfigReader {
    /// A reader of this file. `read` puts the command line over it and checks the result.
    pub fn new(file: Option<PathBuf>, read: impl Fn() -> Result<Offering> + Send + Sync + 'static) -> Self {
        Self { file, read: Box::new(read) }
    }

    /// The path of the file, if there is one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    fn stamp(&self) -> Option<Stamp> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(self.file.as_ref()?).ok()?;
        // `ctime`, because `chmod` may be the change that makes the file readable.
        Some((metadata.ino(), metadata.ctime(), metadata.ctime_nsec(), metadata.len()))
    }
}

/// The configuration in force, in the parts that others read.
pub(super) struct LiveConfig {
    /// The settings in force: those that need a restart are those of the start.
    pub(super) offering: ArcSwap<Offering>,
    pub(super) catalogue: Arc<ArcSwap<Catalogue>>,
    /// The machines that pxed serves.
    pub(super) access: Arc<ArcSwap<Access>>,
    /// The rate limits for requests of one source.
    pub(super) rates: Arc<ArcSwap<Rates>>,
    /// Which machines of the segment are ours. `None` if we share the segment with nobody, or know nobody.
    pub(super) ranks: Arc<ArcSwapOption<Ranks>>,
    /// With whom we share the segment. `None` if with nobody.
    segment: ArcSwapOption<SegmentView>,
    /// The responders that the shared ledger has shown.
    found: ArcSwapOption<Found>,
    /// Why the responders in the shared ledger cannot be known now.
    segment_problem: ArcSwapOption<String>,
    /// Wakes the supervisor after [`Self::found`]. It applies the ranks to the kernel.
    pub(super) found_others: Notify,
    /// What other responders of a shared ledger see of this one. `None` without a shared ledger.
    pub(super) about: Option<Arc<ArcSwap<About>>>,
    /// Where images from elsewhere may come from. `None` if none did at the start.
    pub(super) image_target: Option<Arc<Target>>,
    /// The files of images from elsewhere.
    stored: ArcSwap<StoredImages>,
    /// What the board shows of these images.
    pub(super) images: ArcSwap<Vec<ImageGauges>>,
    policies: Vec<(Ipv4Addr, Arc<ArcSwap<Policy>>)>,
    reader: ConfigReader,
    /// The queue of the loader, which follows the files of the catalogue.
    loader_queue: Arc<LoaderQueue>,
    /// The versions of the file that were read and seen last.
    stamps: Mutex<Stamps>,
    /// Held while something is replaced: by the loader after a change of files, by the supervisor's look after one of the settings.
    replacing: Mutex<()>,
}

impl LiveConfig {
    pub(super) fn new(
        offering: Offering,
        (catalogue, images): (Catalogue, OpenedSources),
        reader: ConfigReader,
        loader_queue: Arc<LoaderQueue>,
    ) -> Self {
        let settings = offering.settings();
        let segment = SegmentView::new(settings.segment.as_ref(), None).map(Arc::new);
        Self {
            access: Arc::new(ArcSwap::from_pointee(settings.access.clone())),
            rates: Arc::new(ArcSwap::from_pointee(settings.rate_limits().rates())),
            ranks: Arc::new(ArcSwapOption::from(segment.as_ref().and_then(|segment| segment.ranks.clone()))),
            segment: ArcSwapOption::from(segment),
            found: ArcSwapOption::default(),
            segment_problem: ArcSwapOption::default(),
            found_others: Notify::new(),
            image_target: images.target,
            stored: ArcSwap::from_pointee(images.stored),
            images: ArcSwap::default(),
            offering: ArcSwap::from_pointee(offering),
            catalogue: Arc::new(ArcSwap::from_pointee(catalogue)),
            about: None,
            policies: Vec::new(),
            stamps: Mutex::new(Stamps { read: reader.stamp(), seen: None }),
            reader,
            loader_queue,
            replacing: Mutex::default(),
        }
    }

    /// The settings in force.
    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(self.offering.load().settings())
    }

    /// Publishes the rules of an interface with this address from now on.
    pub(super) fn add(&mut self, address: Ipv4Addr, policy: Arc<ArcSwap<Policy>>) {
        self.policies.push((address, policy));
    }

    /// Makes the rules anew after a change of files.
    pub(super) fn refresh(&self) {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.publish() {
            let text = "boot files have come, gone or changed: machines get new offers";
            tracing::info!(event = "programs_changed", "{text}");
        }
    }

    /// Looks at the file, and applies it if it has changed and has looked the same twice: an editor may still be writing it.
    /// With `now` it applies the file in any case. Reading may block, so nothing may wait for the calling thread.
    pub(super) fn look(&self, now: bool) -> ReloadOutcome {
        if self.reader.file.is_none() || !(self.has_changed() || now) {
            return ReloadOutcome::Nothing;
        }
        match self.reload() {
            Ok(settings) => ReloadOutcome::Taken(settings),
            Err(error) => ReloadOutcome::Refused(error),
        }
    }

    /// Whether the file has changed and looks the same as at the last look. A missing file is no change: editors replace files.
    fn has_changed(&self) -> bool {
        let now = self.reader.stamp();
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let is_settled = now == stamps.seen;
        stamps.seen = now;
        now.is_some() && is_settled && now != stamps.read
    }

    /// Reads the file and applies it. After an error the settings in force stay.
    fn reload(&self) -> Result<Arc<Settings>> {
        // Before the read, so that a write during it counts as another change. Also for a file that is rejected, so that the
        // rejection is logged once.
        self.stamps.lock().unwrap_or_else(PoisonError::into_inner).read = self.reader.stamp();
        let new = (self.reader.read)()?;
        let (running, new) = (self.settings(), new.settings());
        if new.rules.is_empty() && !running.rules.is_empty() {
            bail!(
                "it has no rules any more, so pxed would serve every machine: restart pxed if that is intended"
            );
        }
        if new.access.is_open() && !running.access.is_open() {
            bail!(
                "it has no [access] any more, so pxed would serve every machine: restart pxed if that is intended"
            );
        }
        let difference = running.difference(new);
        for key in difference.keys(Effect::Restart) {
            tracing::warn!("`{key}` changed; restart pxed to apply it");
        }
        let settings = Arc::new(running.applied(Settings::clone(new)));
        let offering = Offering::new(Arc::clone(&settings))?;
        if let Some(segment) = &settings.segment {
            segment.require_own()?;
        }
        self.require_sources(&settings)?;
        // Before the catalogue is opened, because it has the images that were fetched last.
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let files = || image_cache::with(&settings, &self.stored.load());
        let catalogue = match difference.has(Effect::Files) {
            true => Some(self.catalogue.load().reopen(files())?),
            false => None,
        };
        if let Some(catalogue) = catalogue {
            for missing in catalogue.missing() {
                tracing::warn!("{missing}");
            }
            self.replace_catalogue(catalogue);
        }
        self.access.store(Arc::new(settings.access.clone()));
        self.rates.store(Arc::new(settings.rate_limits().rates()));
        if running.segment != settings.segment {
            self.share_segment(&settings);
            self.log_segment();
        }
        self.offering.store(Arc::new(offering));
        if let Some(shown) = &self.about {
            shown.store(Arc::new(about(&settings)));
        }
        self.publish();
        Ok(settings)
    }

    fn replace_catalogue(&self, catalogue: Catalogue) {
        self.catalogue.store(Arc::new(catalogue));
        // The loader waits for changes of the old catalogue's files.
        self.loader_queue.waker().wake();
    }

    /// Checks that the confined daemon can reach the sources of these settings.
    fn require_sources(&self, settings: &Settings) -> Result<()> {
        for source in &settings.sources {
            let target = self.image_target.as_ref();
            let target = target.context("no image came from elsewhere at the start of pxed: restart pxed")?;
            target.require(source).with_context(|| format!("image `{}`", source.image))?;
        }
        Ok(())
    }

    /// Serves these files of images from elsewhere from now on: each image whole, and all at once. Running transfers keep the
    /// old ones.
    ///
    /// # Errors
    /// When the catalogue cannot be opened. The old one stays then.
    pub(super) fn fetched(&self, stored: StoredImages) -> Result<()> {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        if **self.stored.load() == stored {
            return Ok(());
        }
        let catalogue = self.catalogue.load().reopen(image_cache::with(&self.settings(), &stored))?;
        self.stored.store(Arc::new(stored));
        self.replace_catalogue(catalogue);
        self.publish();
        Ok(())
    }

    /// Publishes what the board shows of images from elsewhere.
    pub(super) fn show_images(&self, images: Vec<ImageGauges>) {
        self.images.store(Arc::new(images));
    }

    /// Publishes with whom the segment is shared by these settings.
    fn share_segment(&self, settings: &Settings) {
        let view = SegmentView::new(settings.segment.as_ref(), self.found.load().as_deref());
        self.ranks.store(view.as_ref().and_then(|view| view.ranks.clone()));
        self.segment.store(view.map(Arc::new));
    }

    /// Takes the responders that the shared ledger shows. Those of a segment that the settings no longer name change nothing.
    pub(super) fn found(&self, found: Found) {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.found.load().as_deref() == Some(&found) {
            return;
        }
        self.found.store(Some(Arc::new(found)));
        let before = self.segment.load_full();
        self.share_segment(&self.settings());
        if before != self.segment.load_full() {
            self.log_segment();
            self.found_others.notify_one();
        }
    }

    /// Publishes why the responders in the shared ledger cannot be known now, or that they are.
    pub(super) fn segment_problem(&self, problem: Option<String>) {
        let before = self.segment_problem.load();
        match (before.as_deref(), &problem) {
            (None, Some(problem)) => tracing::error!(event = "segment_problem", "{problem}"),
            (Some(_), None) => {
                tracing::info!(event = "segment_works", "the responders of the segment are known again")
            }
            _ => {}
        }
        if before.as_deref() != problem.as_ref() {
            self.segment_problem.store(problem.map(Arc::new));
        }
    }

    /// Logs with whom the segment is shared.
    pub(super) fn log_segment(&self) {
        SegmentView::log(self.segment.load().as_deref());
    }

    /// How many other responders share the segment. `None` if the shared ledger has not named them yet.
    pub(super) fn sharing(&self) -> Option<usize> {
        self.segment.load().as_ref().map_or(Some(0), |segment| segment.others)
    }

    /// What the board says of the segment.
    pub(super) fn segment_gauges(&self) -> Option<SegmentGauges> {
        let problem = self.segment_problem.load();
        self.segment.load().as_ref().map(|segment| segment.gauges(problem.as_ref().map(|text| text.as_str())))
    }

    /// Makes the rules of each interface anew. Returns whether any differ.
    fn publish(&self) -> bool {
        let (offering, catalogue) = (self.offering.load(), self.catalogue.load());
        let mut changed = false;
        for (address, shown) in &self.policies {
            let policy = offering.policy(*address, &catalogue);
            if **shown.load() != policy {
                shown.store(Arc::new(policy));
                changed = true;
            }
        }
        changed
    }
}
