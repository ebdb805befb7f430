//! Checks the rules, and finds rules that can never match.

use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use toml::Spanned;

use super::bounds::VLAN_MAX;
use super::diagnostics::Diagnostics;
use super::raw;
use super::settings::{RuleAction, RuleSpec};
use super::words::{Action, Words as _};
use pxe_content::boot::ImageSpec;
use pxe_content::rules::{Glob, Matcher, RuleLimits};
use pxe_content::suggest::did_you_mean;
use pxe_proto::dhcp::{Arch, Uuid};
use pxe_proto::tftp::packet::BLKSIZE_RANGE;

pub(super) fn rules(
    diagnostics: &mut Diagnostics<'_>,
    raw: Vec<Spanned<raw::Rule>>,
    image_specs: &[ImageSpec],
    has_http: bool,
    is_whole: bool,
) -> Vec<RuleSpec> {
    let mut rules: Vec<RuleSpec> = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let span = raw.span();
        let Some(rule) = rule(diagnostics, index + 1, raw, image_specs) else { continue };
        if rules.iter().any(|earlier| earlier.name == rule.name) {
            diagnostics.error(
                span.clone(),
                format!("two rules are named `{}`: boots are counted by name", rule.name),
            );
        }
        // After a mistake, an earlier rule may lack a condition and match more machines than its author wants.
        let covers = |earlier: &&RuleSpec| is_whole && earlier.matcher.covers(&rule.matcher);
        if let Some(earlier) = rules.iter().find(covers) {
            let (name, line) = (&earlier.name, earlier.line);
            let text = "can never match: every machine it matches is matched by rule";
            diagnostics
                .error(span.clone(), format!("rule `{}` {text} `{name}` (line {line}) first", rule.name));
        }
        if !has_http && is_for_http_only(&rule.matcher) {
            let text = "matches UEFI HTTP boot only, which needs `[http]` with a port";
            diagnostics.warning(span, format!("rule `{}` {text}", rule.name));
        }
        rules.push(rule);
    }
    rules
}

fn rule(
    diagnostics: &mut Diagnostics<'_>,
    number: usize,
    raw: Spanned<raw::Rule>,
    image_specs: &[ImageSpec],
) -> Option<RuleSpec> {
    let span = raw.span();
    let raw = raw.into_inner();
    let name: Arc<str> = raw.name.unwrap_or_else(|| format!("rule {number}")).into();
    if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
        diagnostics.error(span.clone(), "a rule's name has 1 to 64 bytes and no control characters");
    }
    let image_spec = raw
        .image
        .as_ref()
        .and_then(|image| image_specs.iter().find(|image_spec| *image_spec.name == **image.get_ref()));
    let known = image_specs.iter().map(|image_spec| &*image_spec.name);
    let outcome = outcome(diagnostics, &span, &name, raw.image, raw.action, (image_spec, known))?;
    let boots = match (raw.once, raw.boots) {
        (true, Some(boots)) => {
            diagnostics.error(boots.span(), "write `once` or `boots`, not both");
            None
        }
        (true, None) => Some(1),
        (false, boots) => boots.map(|boots| {
            if *boots.get_ref() == 0 {
                diagnostics.error(
                    boots.span(),
                    "boots = 0: to boot nothing, write `action = \"local\"` or \"ignore\"",
                );
            }
            boots.into_inner()
        }),
    };
    if boots.is_some() && image_spec.is_some_and(|image_spec| !image_spec.has_payload()) {
        let text =
            "counts boots, so its image must say when one is complete: name the last file with `payload`";
        diagnostics.error(span.clone(), format!("rule `{name}` {text}"));
    }
    if boots.is_some() && raw.boot_server.is_some() {
        let text = "counts boots, but `boot_server` names another machine, and only that one sees whether the files arrived";
        diagnostics.error(span.clone(), format!("rule `{name}` {text}"));
    }
    if boots.is_some() && !matches!(outcome, RuleAction::Image(_)) {
        diagnostics.error(span.clone(), format!("rule `{name}` boots nothing that could be counted"));
    }
    let limits = RuleLimits {
        blksize: raw.blksize.map(|blksize| {
            if !BLKSIZE_RANGE.contains(blksize.get_ref()) {
                diagnostics.error(blksize.span(), "blksize is from 8 to 65464 (RFC 2348)");
            }
            blksize.into_inner()
        }),
        windowsize: raw.windowsize.map(|windowsize| {
            if *windowsize.get_ref() == 0 {
                diagnostics.error(windowsize.span(), "windowsize is at least 1 (RFC 7440)");
            }
            windowsize.into_inner()
        }),
    };
    // Without one of its conditions, the rule would match more machines than its author wants, and other rules would seem to be
    // unreachable. So a rule with a wrong condition is left out.
    let matcher = matcher(diagnostics, raw.conditions)?;
    if limits != RuleLimits::default() && !matcher.asks_clients_only() {
        let text = "limits transfers, so it can match on mac, vlan, interface and the relay's network only: a file request shows nothing else";
        diagnostics.error(span.clone(), format!("rule `{name}` {text}"));
    }
    let style = diagnostics.word("style", raw.style);
    let line = diagnostics.line(span);
    Some(RuleSpec { name, line, matcher, outcome, style, boot_server: raw.boot_server, boots, limits })
}

fn outcome<'r>(
    diagnostics: &mut Diagnostics<'_>,
    span: &Range<usize>,
    rule: &str,
    image: Option<Spanned<String>>,
    action: Option<Spanned<String>>,
    (image_spec, known): (Option<&ImageSpec>, impl Iterator<Item = &'r str>),
) -> Option<RuleAction> {
    match (image, action) {
        (Some(image), None) => {
            if image_spec.is_none() {
                let near = did_you_mean(image.get_ref(), known);
                let text = format!("there is no image `{}`: add [images.{0}]{near}", image.get_ref());
                diagnostics.error(image.span(), text);
            }
            Some(RuleAction::Image(image_spec?.name.clone()))
        }
        (None, Some(action)) => match Action::of_word(action.get_ref()) {
            Some(Action::Local) => Some(RuleAction::Local),
            Some(Action::Ignore) => Some(RuleAction::Ignore),
            None => {
                let other = action.get_ref();
                diagnostics.error(
                    action.span(),
                    format!("action = \"{other}\": write \"local\" or \"ignore\", or an image"),
                );
                None
            }
        },
        _ => {
            diagnostics.error(span.clone(), format!("rule `{rule}` needs either `image` or `action`"));
            None
        }
    }
}

/// The conditions of a rule. `None` if one of them is wrong.
fn matcher(diagnostics: &mut Diagnostics<'_>, raw: raw::Conditions) -> Option<Matcher> {
    let (vlan, at) = listed(raw.vlan);
    let wrong = vlan.iter().find(|vlan| **vlan > VLAN_MAX);
    if let Some(vlan) = wrong {
        diagnostics.error(at, format!("vlan = {vlan}: VLANs have numbers from 1 to 4094, and 0 means none"));
    }
    let vlan = wrong.is_none().then_some(vlan);
    let globs = |raw| listed(raw).0.iter().map(|text: &String| Glob::new(text)).collect();
    // Parse all conditions before the first `?`, so that every mistake is reported.
    let (mac, uuid) = (parsed(diagnostics, raw.mac), parsed::<Uuid, _>(diagnostics, raw.uuid));
    let (arch, relay) = (parsed::<Arch, _>(diagnostics, raw.arch), parsed(diagnostics, raw.relay));
    Some(Matcher {
        mac: mac?,
        uuid: uuid?,
        arch: arch?,
        class: globs(raw.class),
        user_class: globs(raw.user_class),
        relay: relay?,
        vlan: vlan?,
        interface: listed(raw.interface).0,
    })
}

/// The values of a condition, and their byte range in the text.
fn listed<T>(raw: Option<Spanned<raw::OneOrMany<T>>>) -> (Vec<T>, Range<usize>) {
    match raw {
        Some(raw) => {
            let at = raw.span();
            (raw.into_inner().into_vec(), at)
        }
        None => (Vec::new(), 0..0),
    }
}

/// The parsed values of a condition. `None` if one of them is wrong.
fn parsed<T: FromStr<Err: Display>, W: Display>(
    diagnostics: &mut Diagnostics<'_>,
    raw: Option<Spanned<raw::OneOrMany<W>>>,
) -> Option<Vec<T>> {
    let (texts, at) = listed(raw);
    let values: Vec<Option<T>> =
        texts.iter().map(|text| diagnostics.accept(at.clone(), text.to_string().parse())).collect();
    values.into_iter().collect()
}

fn is_for_http_only(matcher: &Matcher) -> bool {
    let by_arch = !matcher.arch.is_empty()
        && matcher.arch.iter().all(|arch| arch.processor() != *arch && *arch != Arch::EBC);
    let by_class = !matcher.class.is_empty()
        && matcher.class.iter().all(|class| class.to_string().starts_with("HTTPClient"));
    by_arch || by_class
}
