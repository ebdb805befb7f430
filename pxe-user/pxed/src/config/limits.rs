//! Checks which machines pxed serves (`[access]`), and how many of their requests it answers (`[limits]`).

use toml::Spanned;

use super::diagnostics::Diagnostics;
use super::raw;
use super::settings::SettingsLayer;
use pxe_content::rules::{Access, Allowed};

pub(super) fn rate_limits(diagnostics: &mut Diagnostics<'_>, raw: raw::RateLimitKeys) -> SettingsLayer {
    SettingsLayer {
        dhcp_rate: raw.dhcp_rate,
        dhcp_burst: diagnostics.at_least_one("dhcp_burst", raw.dhcp_burst),
        tftp_rate: raw.tftp_rate,
        tftp_burst: diagnostics.at_least_one("tftp_burst", raw.tftp_burst),
        ..SettingsLayer::default()
    }
}

pub(super) fn access(diagnostics: &mut Diagnostics<'_>, raw: Spanned<raw::Access>) -> Access {
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
