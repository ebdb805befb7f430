//! What can change while the daemon runs: rules, images and files. Replaced as a whole, or not at all.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, bail};
use arc_swap::ArcSwap;
use pxe_common::rate_limit::Rates;

use crate::config::{Effect, Settings};
use crate::offering::Offering;
use pxe_content::boot::Catalogue;
use pxe_content::rules::{Access, Policy};

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

/// What tells one version of a file from another.
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
        // Not the time of its last change alone: `chmod` may be what it waits for.
        Some((metadata.ino(), metadata.ctime(), metadata.ctime_nsec(), metadata.len()))
    }
}

/// What is in force.
pub(super) struct LiveConfig {
    /// The settings in force: those that need a restart are those of the start.
    pub(super) offering: ArcSwap<Offering>,
    pub(super) catalogue: Arc<ArcSwap<Catalogue>>,
    /// Who is served at all.
    pub(super) access: Arc<ArcSwap<Access>>,
    /// How often sources may ask.
    pub(super) rates: Arc<ArcSwap<Rates>>,
    policies: Vec<(Ipv4Addr, Arc<ArcSwap<Policy>>)>,
    reader: ConfigReader,
    /// The version of the file that was read last, and the one that was seen last.
    stamps: Mutex<Stamps>,
    /// Who replaces something holds it: the loader after a change of files, the supervisor after one of the rules.
    replacing: Mutex<()>,
}

impl LiveConfig {
    pub(super) fn new(offering: Offering, catalogue: Catalogue, reader: ConfigReader) -> Self {
        let settings = offering.settings();
        Self {
            access: Arc::new(ArcSwap::from_pointee(settings.access.clone())),
            rates: Arc::new(ArcSwap::from_pointee(settings.rate_limits().rates())),
            offering: ArcSwap::from_pointee(offering),
            catalogue: Arc::new(ArcSwap::from_pointee(catalogue)),
            policies: Vec::new(),
            stamps: Mutex::new(Stamps { read: reader.stamp(), seen: None }),
            reader,
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

    /// Files may have come or gone: machines are told what is there now.
    pub(super) fn refresh(&self) {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.publish() {
            let text = "boot files have come, gone or changed: machines get new offers";
            tracing::info!(event = "programs_changed", "{text}");
        }
    }

    /// Looks at the file, and puts it in force if it is another one and has been so for two looks: who writes it may not be
    /// through. `now` asks for it whatever the look says. Waits for the file, so it is for a thread that nobody waits for.
    pub(super) fn look(&self, now: bool) -> ReloadOutcome {
        if self.reader.file.is_none() || !(self.has_changed() || now) {
            return ReloadOutcome::Nothing;
        }
        match self.reload() {
            Ok(settings) => ReloadOutcome::Taken(settings),
            Err(error) => ReloadOutcome::Refused(error),
        }
    }

    /// A file that is gone for a moment, as editors have it, is no change.
    fn has_changed(&self) -> bool {
        let now = self.reader.stamp();
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let is_settled = now == stamps.seen;
        stamps.seen = now;
        now.is_some() && is_settled && now != stamps.read
    }

    /// Reads the configuration again and puts it in force; if that fails, the old one stays.
    fn reload(&self) -> Result<Arc<Settings>> {
        // Before it is read: what is written meanwhile is another change. And also if it is refused: once is enough.
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
        let catalogue = match difference.has(Effect::Files) {
            true => Some(self.catalogue.load().reopen(settings.files())?),
            false => None,
        };
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(catalogue) = catalogue {
            for missing in catalogue.missing() {
                tracing::warn!("{missing}");
            }
            self.catalogue.store(Arc::new(catalogue));
        }
        self.access.store(Arc::new(settings.access.clone()));
        self.rates.store(Arc::new(settings.rate_limits().rates()));
        self.offering.store(Arc::new(offering));
        self.publish();
        Ok(settings)
    }

    /// Makes the policies anew; says whether any is another.
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
