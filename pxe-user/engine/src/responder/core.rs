//! The state that the services of one worker share.

use std::net::Ipv4Addr;

use pxe_common::rate_limit::Source;

use super::others_machines::OthersMachines;
use super::rate_limiter::RateLimiter;
use super::{ResponderSettings, Sources};
use crate::counters::Counters;
use pxe_proto::datagram::Datagram;
use pxe_proto::time::Timestamp;

/// The state that the services of one worker share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) settings: ResponderSettings,
    pub(super) sources: Sources,
    pub(super) rate_limiter: RateLimiter,
    pub(super) others: OthersMachines,
    pub(super) counters: Counters,
}

impl Core {
    pub(super) fn new(settings: ResponderSettings, sources: Sources) -> Self {
        let rate_limiter = RateLimiter::new(settings.filters_requests);
        let others = OthersMachines::new(settings.filters_requests);
        Self { settings, sources, rate_limiter, others, counters: Counters::default() }
    }

    /// Our address as the client used it, which replies come from. If the datapath does not know it, the
    /// interface's address.
    pub(super) fn reply_address(&self, datagram: &Datagram<'_>) -> Ipv4Addr {
        let used = *datagram.to.ip();
        if used.is_unspecified() { self.settings.address } else { used }
    }

    /// Whether a TFTP client is within its rate limit. If it is, takes a token.
    pub(super) fn admits_tftp(&mut self, now: Timestamp, client: Ipv4Addr) -> bool {
        let rate = &self.sources.rates.load().tftp;
        self.rate_limiter.admits(now, rate, &Source::of_tftp(client.octets()))
    }
}
