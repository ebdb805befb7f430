//! What can change while the daemon runs: rules, images and files. Replaced as a whole, or not at all.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use arc_swap::ArcSwap;

use super::Offering;
use super::interface::Served;
use crate::boot::{self, Catalogue};
use crate::config::FleetSettings;
use crate::rules::Policy;

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
pub struct Reread {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// Reads it.
    pub read: Box<dyn Fn() -> Result<Setup> + Send + Sync>,
}

/// What tells one version of a file from another.
type Stamp = (u64, i64, i64, u64);

impl Reread {
    fn stamp(&self) -> Option<Stamp> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(self.file.as_ref()?).ok()?;
        Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
    }
}

/// What is in force.
pub(super) struct Current {
    pub(super) setup: ArcSwap<Setup>,
    pub(super) catalogue: Arc<ArcSwap<Catalogue>>,
    policies: Vec<(Ipv4Addr, Arc<ArcSwap<Policy>>)>,
    reread: Reread,
    /// The version of the file that was read last.
    stamp: Mutex<Option<Stamp>>,
    /// Who replaces something holds it: the loader after a change of files, the supervisor after one of the rules.
    replacing: Mutex<()>,
}

impl Current {
    pub(super) fn new(setup: Setup, catalogue: Catalogue, reread: Reread) -> Self {
        Self {
            setup: ArcSwap::from_pointee(setup),
            catalogue: Arc::new(ArcSwap::from_pointee(catalogue)),
            policies: Vec::new(),
            stamp: Mutex::new(reread.stamp()),
            reread,
            replacing: Mutex::default(),
        }
    }

    pub(super) fn add(&mut self, served: &Served) {
        self.policies.push((served.plan.subnet.address, Arc::clone(&served.policy)));
    }

    /// Files may have come or gone: machines are told what is there now.
    pub(super) fn refresh(&self) {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.publish() {
            let text = "the boot programs have changed: machines are told the new ones";
            tracing::info!(event = "programs_changed", "{text}");
        }
    }

    /// Whether the file is another than the one that was read last. A file that is gone for a moment, as editors have it, is
    /// no change.
    pub(super) fn has_changed(&self) -> bool {
        let now = self.reread.stamp();
        now.is_some() && now != *self.stamp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the configuration again and puts it in force; if that fails, the old one stays. `None` without a file.
    ///
    /// # Errors
    /// Why it was refused.
    pub(super) fn reload(&self) -> Result<Option<Arc<Setup>>> {
        if self.reread.file.is_none() {
            return Ok(None);
        }
        // Before it is read: what is written meanwhile is another change. And also if it is refused: once is enough.
        *self.stamp.lock().unwrap_or_else(PoisonError::into_inner) = self.reread.stamp();
        let setup = (self.reread.read)()?;
        let same_files = self.setup.load().files == setup.files;
        let catalogue = if same_files { None } else { Some(Catalogue::open(setup.files.clone())?) };
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(catalogue) = catalogue {
            for missing in catalogue.missing() {
                tracing::warn!("{missing}");
            }
            self.catalogue.store(Arc::new(catalogue));
        }
        let setup = Arc::new(setup);
        self.setup.store(Arc::clone(&setup));
        self.publish();
        Ok(Some(setup))
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
