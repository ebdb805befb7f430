//! What a responder reads and others replace while it runs. Reading takes no lock.

use std::net::Ipv4Addr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pxe_common::rate_limit::Rates;

use super::Settings;
use pxe_content::boot::Catalogue;
use pxe_content::rules::{Access, Decision, Policy};
use pxe_fleet::firmware_quirks::StyleDefaults;
use pxe_fleet::handle::BootRecords;
use pxe_proto::datagram::Link;
use pxe_proto::mac::Mac;
use pxe_proto::tftp::negotiation::OptionLimits;

/// What a responder reads and others replace while it runs.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Who gets what.
    pub policy: Arc<ArcSwap<Policy>>,
    /// What is served under which name.
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    /// What machines have done before.
    pub boot_records: Arc<ArcSwap<BootRecords>>,
    /// Who is served at all.
    pub access: Arc<ArcSwap<Access>>,
    /// How often sources may ask.
    pub rates: Arc<ArcSwap<Rates>>,
}

impl Sources {
    /// These, with nothing known of any machine, for everybody as often as they like.
    pub fn new(policy: Policy, catalogue: Arc<Catalogue>) -> Self {
        Self {
            policy: Arc::new(ArcSwap::from_pointee(policy)),
            catalogue: Arc::new(ArcSwap::new(catalogue)),
            boot_records: Arc::default(),
            access: Arc::default(),
            rates: Arc::default(),
        }
    }

    /// The style for a machine, as far as it is known without this request.
    pub(super) fn style_defaults(
        &self,
        settings: &Settings,
        decision: &Decision<'_>,
        mac: Mac,
    ) -> StyleDefaults {
        StyleDefaults {
            usual: decision.style.unwrap_or(settings.style),
            learnt: self.boot_records.load().get(&mac).and_then(|standing| standing.style),
        }
    }

    /// What TFTP may grant to a client.
    pub(super) fn limits(&self, settings: &Settings, client: Ipv4Addr, link: &Link) -> OptionLimits {
        let own = self.policy.load().limits(client, link.peer, link.vlan(), &settings.interface);
        let all = settings.limits;
        OptionLimits {
            blksize: own.blksize.map_or(all.blksize, |most| most.min(all.blksize)),
            windowsize: own.windowsize.map_or(all.windowsize, |most| most.min(all.windowsize)),
        }
    }
}
