//! Data that the responder reads and other threads replace while it runs. Reading takes no lock.

use std::net::Ipv4Addr;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use pxe_common::rate_limit::Rates;
use pxe_common::segment::Ranks;

use super::ResponderSettings;
use pxe_content::boot::Catalogue;
use pxe_content::rules::{Access, Decision, Policy};
use pxe_fleet::firmware_quirks::StyleDefaults;
use pxe_fleet::handle::BootRecords;
use pxe_proto::datagram::Link;
use pxe_proto::dhcp::Style;
use pxe_proto::mac::Mac;
use pxe_proto::tftp::negotiation::OptionLimits;

/// Data that the responder reads and other threads replace as a whole. Clones share the same data.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The rules: which machine boots which image. A reload of the configuration replaces them.
    pub policy: Arc<ArcSwap<Policy>>,
    /// All boot files by name. A reload of the configuration replaces the catalogue.
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    /// What machines did in earlier boots. The fleet replaces it.
    pub boot_records: Arc<ArcSwap<BootRecords>>,
    /// The machines that `[access]` allows. A reload of the configuration replaces it.
    pub access: Arc<ArcSwap<Access>>,
    /// The rate limits. A reload of the configuration replaces them.
    pub rates: Arc<ArcSwap<Rates>>,
    /// Which machines of the segment are ours. `None` if this responder shares the segment with nobody. A reload of
    /// the configuration replaces it.
    pub ranks: Arc<ArcSwapOption<Ranks>>,
}

impl Sources {
    /// Sources with these rules and this catalogue, with no boot records, and without limits on access and
    /// rate.
    pub fn new(policy: Policy, catalogue: Arc<Catalogue>) -> Self {
        Self {
            policy: Arc::new(ArcSwap::from_pointee(policy)),
            catalogue: Arc::new(ArcSwap::new(catalogue)),
            boot_records: Arc::default(),
            access: Arc::default(),
            rates: Arc::default(),
            ranks: Arc::default(),
        }
    }

    /// The style for a machine, as far as it is known before this request.
    pub(super) fn style_defaults(&self, decision: &Decision<'_>, mac: Mac) -> StyleDefaults {
        StyleDefaults {
            // The rules follow a reload, so nothing but a constant may stand behind them.
            usual: decision.style.unwrap_or(Style::Direct),
            learnt: self.boot_records.load().get(&mac).and_then(|record| record.style),
        }
    }

    /// The largest block and window that TFTP may grant to a client: the smaller of the rule's and the
    /// interface's limit.
    pub(super) fn limits(&self, settings: &ResponderSettings, client: Ipv4Addr, link: &Link) -> OptionLimits {
        let own = self.policy.load().limits(client, link.peer, link.vlan(), &settings.interface);
        let all = settings.limits;
        OptionLimits {
            blksize: own.blksize.map_or(all.blksize, |most| most.min(all.blksize)),
            windowsize: own.windowsize.map_or(all.windowsize, |most| most.min(all.windowsize)),
        }
    }
}
