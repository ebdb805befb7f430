//! Who is served at all, and how often one may ask.

use pxe_common::bucket::{Rate, Rates};
use toml::Spanned;

use super::check::Judge;
use super::raw;
use crate::rules::{Access, Allowed};

/// How often one source may ask, in requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A second, in the long run; 0 for no limit.
    pub rate: u32,
    /// At once, at least 1.
    pub burst: u32,
}

/// How often sources may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paces {
    /// A machine, by DHCP.
    pub dhcp: Pace,
    /// An IPv4 address, for files.
    pub tftp: Pace,
}

/// What machines never meet, however often they are switched on and whatever they load, and however many share an address:
/// `pxe-user/tests/tftp/rates.rs` plays it.
impl Default for Paces {
    fn default() -> Self {
        Self { dhcp: Pace { rate: 10, burst: 60 }, tftp: Pace { rate: 100, burst: 2000 } }
    }
}

impl Paces {
    /// As the kernel program and the responder want them.
    #[must_use]
    pub fn rates(&self) -> Rates {
        let rate = |pace: Pace| Rate::new(pace.rate, pace.burst);
        Rates { dhcp: rate(self.dhcp), tftp: rate(self.tftp) }
    }
}

pub(super) fn paces(judge: &mut Judge<'_>, raw: raw::Limits) -> Paces {
    let usual = Paces::default();
    let mut pace = |usual: Pace, key: &str, rate: Option<u32>, burst: Option<Spanned<u32>>| Pace {
        rate: rate.unwrap_or(usual.rate),
        burst: judge.at_least_one(key, burst).unwrap_or(usual.burst),
    };
    Paces {
        dhcp: pace(usual.dhcp, "dhcp_burst", raw.dhcp_rate, raw.dhcp_burst),
        tftp: pace(usual.tftp, "tftp_burst", raw.tftp_rate, raw.tftp_burst),
    }
}

pub(super) fn access(judge: &mut Judge<'_>, raw: Option<Spanned<raw::Access>>) -> Access {
    let Some(raw) = raw else { return Access::default() };
    let span = raw.span();
    let raw::Access { allow } = raw.into_inner();
    if allow.is_empty() {
        judge.error(
            span,
            "`allow` is empty, so pxed would serve no machine: add an entry, or remove [access]",
        );
    }
    let parse = |text: &Spanned<String>| judge.accept(text.span(), text.get_ref().parse::<Allowed>());
    Access::only(allow.iter().filter_map(parse).collect())
}
