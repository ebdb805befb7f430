//! What can change while the daemon runs: rules, images and files. Replaced as a whole, or not at all.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, bail};
use arc_swap::ArcSwap;
use pxe_common::rate_limit::Rates;

use super::Options;
use super::served_interface::ServedInterface;
use crate::config::FleetSettings;
use crate::offering::Offering;
use pxe_content::boot::{self, Catalogue};
use pxe_content::rules::{Access, Policy};

/// What the configuration says of all that can change.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Who gets what.
    pub offering: Offering,
    /// Which files there are.
    pub files: boot::Config,
    /// What is remembered of machines.
    pub fleet: FleetSettings,
}

/// How to read the configuration again.
pub struct ConfigReader {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// Reads it.
    pub read: Box<dyn Fn() -> Result<(Options, Setup)> + Send + Sync>,
}

/// What came of a look at the file.
pub(super) enum ReloadOutcome {
    /// There is nothing new, or nothing to be read.
    Nothing,
    /// It is in force.
    Taken(Arc<Setup>),
    /// It was refused, for this reason.
    Refused(anyhow::Error),
}

/// What tells one version of a file from another.
type Stamp = (u64, i64, i64, u64);

#[derive(Debug)]
struct Stamps {
    read: Option<Stamp>,
    seen: Option<Stamp>,
}

impl Setup {
    /// What is read at the start only, and is another there.
    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let differ =
            [("http", self.offering.http != other.offering.http), ("fleet", self.fleet != other.fleet)];
        differ.into_iter().filter(|(_, differ)| *differ).map(|(name, _)| name).collect()
    }
}

impl ConfigReader {
    fn stamp(&self) -> Option<Stamp> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(self.file.as_ref()?).ok()?;
        // Not the time of its last change alone: `chmod` may be what it waits for.
        Some((metadata.ino(), metadata.ctime(), metadata.ctime_nsec(), metadata.len()))
    }
}

/// What is in force.
pub(super) struct LiveConfig {
    pub(super) setup: ArcSwap<Setup>,
    pub(super) catalogue: Arc<ArcSwap<Catalogue>>,
    /// Who is served at all.
    pub(super) access: Arc<ArcSwap<Access>>,
    /// How often sources may ask.
    pub(super) rates: Arc<ArcSwap<Rates>>,
    policies: Vec<(Ipv4Addr, Arc<ArcSwap<Policy>>)>,
    reader: ConfigReader,
    /// What was said at the start and holds until the end.
    options: Options,
    /// The version of the file that was read last, and the one that was seen last.
    stamps: Mutex<Stamps>,
    /// Who replaces something holds it: the loader after a change of files, the supervisor after one of the rules.
    replacing: Mutex<()>,
}

impl LiveConfig {
    pub(super) fn new(options: Options, setup: Setup, catalogue: Catalogue, reader: ConfigReader) -> Self {
        Self {
            access: Arc::new(ArcSwap::from_pointee(setup.offering.access.clone())),
            rates: Arc::new(ArcSwap::from_pointee(setup.offering.rate_limits.rates())),
            setup: ArcSwap::from_pointee(setup),
            catalogue: Arc::new(ArcSwap::from_pointee(catalogue)),
            policies: Vec::new(),
            options,
            stamps: Mutex::new(Stamps { read: reader.stamp(), seen: None }),
            reader,
            replacing: Mutex::default(),
        }
    }

    pub(super) fn add(&mut self, served: &ServedInterface) {
        self.policies.push((served.plan.subnet.address, Arc::clone(&served.policy)));
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
            Ok(setup) => ReloadOutcome::Taken(setup),
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
    fn reload(&self) -> Result<Arc<Setup>> {
        // Before it is read: what is written meanwhile is another change. And also if it is refused: once is enough.
        self.stamps.lock().unwrap_or_else(PoisonError::into_inner).read = self.reader.stamp();
        let (options, mut setup) = (self.reader.read)()?;
        let old = self.setup.load();
        if setup.offering.rules.is_empty() && !old.offering.rules.is_empty() {
            bail!(
                "it has no rules any more, so pxed would serve every machine: restart pxed if that is intended"
            );
        }
        if setup.offering.access.is_open() && !old.offering.access.is_open() {
            bail!(
                "it has no [access] any more, so pxed would serve every machine: restart pxed if that is intended"
            );
        }
        for what in self.options.differences(&options).into_iter().chain(old.differences(&setup)) {
            tracing::warn!("`{what}` changed; restart pxed to apply it");
        }
        setup.offering.http = old.offering.http;
        let same_files = self.setup.load().files == setup.files;
        let reopen = || self.catalogue.load().reopen(setup.files.clone());
        let catalogue = if same_files { None } else { Some(reopen()?) };
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(catalogue) = catalogue {
            for missing in catalogue.missing() {
                tracing::warn!("{missing}");
            }
            self.catalogue.store(Arc::new(catalogue));
        }
        self.access.store(Arc::new(setup.offering.access.clone()));
        self.rates.store(Arc::new(setup.offering.rate_limits.rates()));
        let setup = Arc::new(setup);
        self.setup.store(Arc::clone(&setup));
        self.publish();
        Ok(setup)
    }

    /// Makes the policies anew; says whether any is another.
    fn publish(&self) -> bool {
        let (setup, catalogue) = (self.setup.load(), self.catalogue.load());
        let mut changed = false;
        for (address, shown) in &self.policies {
            let policy = setup.offering.policy(*address, &catalogue);
            if **shown.load() != policy {
                shown.store(Arc::new(policy));
                changed = true;
            }
        }
        changed
    }
}
