//! The rate limits of sources, as the administrator configures them, and the defaults.

use pxe_common::rate_limit::{Rate, Rates};

/// How many requests of one source pxed accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests per second in the long run; 0 means no limit.
    pub rate: u32,
    /// Requests at once; 0 counts as 1.
    pub burst: u32,
}

/// The rate limits of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Limit for the DHCP requests of one machine.
    pub dhcp: RateLimit,
    /// Limit for the TFTP requests of one IPv4 address.
    pub tftp: RateLimit,
}

/// The defaults are so high that machines never reach them, however often they are switched on, whatever they
/// load, and however many share an address. `pxe-user/engine/tests/tftp/rates.rs` simulates this.
impl Default for RateLimits {
    fn default() -> Self {
        Self { dhcp: RateLimit { rate: 10, burst: 60 }, tftp: RateLimit { rate: 100, burst: 2000 } }
    }
}

impl RateLimits {
    /// The limits in the form that the kernel program and the responder use.
    #[must_use]
    pub fn rates(&self) -> Rates {
        let rate = |pace: RateLimit| Rate::new(pace.rate, pace.burst);
        Rates { dhcp: rate(self.dhcp), tftp: rate(self.tftp) }
    }
}
