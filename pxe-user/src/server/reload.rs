//! What can change while the daemon runs: rules, images and files. Replaced as a whole, or not at all.

use std::net::Ipv4Addr;
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

/// Reads the configuration again.
pub type Reread = Box<dyn Fn() -> Result<Setup> + Send + Sync>;

/// What is in force.
pub(super) struct Current {
    pub(super) setup: ArcSwap<Setup>,
    pub(super) catalogue: Arc<ArcSwap<Catalogue>>,
    policies: Vec<(Ipv4Addr, Arc<ArcSwap<Policy>>)>,
    reread: Reread,
    /// Who replaces something holds it: the loader after a change of files, the supervisor after one of the rules.
    replacing: Mutex<()>,
}

impl Current {
    pub(super) fn new(setup: Setup, catalogue: Catalogue, reread: Reread) -> Self {
        Self {
            setup: ArcSwap::from_pointee(setup),
            catalogue: Arc::new(ArcSwap::from_pointee(catalogue)),
            policies: Vec::new(),
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

    /// Reads the configuration again and puts it in force; if that fails, the old one stays.
    ///
    /// # Errors
    /// Why it was refused.
    pub(super) fn reload(&self) -> Result<Arc<Setup>> {
        let setup = (self.reread)()?;
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
