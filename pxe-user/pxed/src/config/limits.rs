//! Checks which machines pxed serves (`[access]`), and how many of their requests it answers (`[limits]`).

use toml::Spanned;

use super::diagnostics::Diagnostics;
use super::raw;
use pxe_content::rules::{Access, Allowed};
use pxe_engine::responder::{RateLimit, RateLimits};

pub(super) fn rate_limits(diagnostics: &mut Diagnostics<'_>, raw: raw::RateLimitKeys) -> RateLimits {
    let usual = RateLimits::default();
    let mut pace = |usual: RateLimit, key: &str, rate: Option<u32>, burst: Option<Spanned<u32>>| RateLimit {
        rate: rate.unwrap_or(usual.rate),
        burst: diagnostics.at_least_one(key, burst).unwrap_or(usual.burst),
    };
    RateLimits {
        dhcp: pace(usual.dhcp, "dhcp_burst", raw.dhcp_rate, raw.dhcp_burst),
        tftp: pace(usual.tftp, "tftp_burst", raw.tftp_rate, raw.tftp_burst),
    }
}

pub(super) fn access(diagnostics: &mut Diagnostics<'_>, raw: Option<Spanned<raw::Access>>) -> Access {
    let Some(raw) = raw else { return Access::default() };
    let span = raw.span();
    let raw::Access { allow } = raw.into_inner();
    if allow.is_empty() {
        diagnostics.error(
            span,
            "`allow` is empty, so pxed would serve no machine: add an entry, or remove [access]",
        );
    }
    let parse = |text: &Spanned<String>| diagnostics.accept(text.span(), text.get_ref().parse::<Allowed>());
    Access::only(allow.iter().filter_map(parse).collect())
}
