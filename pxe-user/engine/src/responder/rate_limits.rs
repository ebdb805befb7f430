//! How often sources may ask: what an administrator sets, and its defaults.

use pxe_common::rate_limit::{Rate, Rates};

/// How often one source may ask, in requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// A second, in the long run; 0 for no limit.
    pub rate: u32,
    /// At once, at least 1.
    pub burst: u32,
}

/// How often sources may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// A machine, by DHCP.
    pub dhcp: RateLimit,
    /// An IPv4 address, for files.
    pub tftp: RateLimit,
}

/// What machines never meet, however often they are switched on and whatever they load, and however many share an address:
/// `pxe-user/engine/tests/tftp/rates.rs` plays it.
impl Default for RateLimits {
    fn default() -> Self {
        Self { dhcp: RateLimit { rate: 10, burst: 60 }, tftp: RateLimit { rate: 100, burst: 2000 } }
    }
}

impl RateLimits {
    /// As the kernel program and the responder want them.
    #[must_use]
    pub fn rates(&self) -> Rates {
        let rate = |pace: RateLimit| Rate::new(pace.rate, pace.burst);
        Rates { dhcp: rate(self.dhcp), tftp: rate(self.tftp) }
    }
}
