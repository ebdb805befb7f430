//! Turns the parsed file into a [`SettingsLayer`], and reports every problem with its line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::bounds::RESERVED;
use super::diagnostics::Diagnostics;
use super::problem::{Problem, Severity};
use super::raw::{self, Raw};
use super::settings::{Board, InboxSettings, LedgerSettings, RuleSpec, SettingsLayer};
use super::{limits, rule, segment, upstream};
use pxe_content::boot::{ImageSpec, Links};
use pxe_fleet::thread::SPOOL_MAX;
use pxe_ledger::postgres;
use pxe_proto::dhcp::Url;
use pxe_upstream::source::Source;

/// The settings as far as they can be understood, the line of each image, and all problems. `is_whole` means that nothing was
/// removed from the file.
pub(super) fn check(text: &str, mut raw: Raw, is_whole: bool) -> (SettingsLayer, Vec<usize>, Vec<Problem>) {
    let mut diagnostics = Diagnostics::new(text);
    let image_lines: Vec<usize> = raw.images.values().map(|image| diagnostics.line(image.span())).collect();
    let sources = sources(&mut diagnostics, &raw.images, &image_lines);
    let images = image_specs(&mut diagnostics, std::mem::take(&mut raw.images));
    let booted: Vec<String> =
        raw.rules.iter().filter_map(|rule| Some(rule.get_ref().image.as_ref()?.get_ref().clone())).collect();
    let rules = std::mem::take(&mut raw.rules);
    let rules = rule::rules(&mut diagnostics, rules, &images, raw.http.is_some(), is_whole);
    let general = general(&mut diagnostics, raw);
    unused_images(&mut diagnostics, &images, &image_lines, &booted);
    unserved_interfaces(&mut diagnostics, &rules, general.interfaces.as_deref().unwrap_or_default());
    upstream::together(&mut diagnostics, &sources, &general.upstream.clone().unwrap_or_default());
    let sources = Some(sources.into_iter().map(|(source, _)| source).collect());
    let layer = SettingsLayer { images: Some(images), sources, rules: Some(rules), ..general };
    (layer, image_lines, diagnostics.into_problems())
}

/// All settings but images and rules.
fn general(diagnostics: &mut Diagnostics<'_>, raw: Raw) -> SettingsLayer {
    let mut interfaces: Vec<String> = Vec::new();
    for name in raw.interfaces {
        if interfaces.contains(name.get_ref()) {
            diagnostics.error(name.span(), format!("interface {} is named twice", name.get_ref()));
        }
        interfaces.push(name.into_inner());
    }
    if raw.address.is_some() && interfaces.len() > 1 {
        diagnostics.at(None, Severity::Error, "`address` works with one interface only: leave it out");
    }
    if raw.links.is_some() && raw.root.is_none() {
        diagnostics.at(None, Severity::Warning, "`links` has no effect without `root`");
    }
    let own_in_ledger = raw
        .ledger
        .as_ref()
        .map(|ledger| ledger.get_ref().responder.as_ref().map(|responder| responder.get_ref().clone()));
    let general = SettingsLayer {
        interfaces: Some(interfaces),
        address: raw.address,
        state: raw.state,
        socket: raw.socket,
        root: raw.root.map(|root| (root, links(raw.links))),
        boot_files: Some(diagnostics.boot_files(raw.boot_files)),
        memory: diagnostics.mib("memory_mib", raw.memory_mib),
        datapath: diagnostics.word("datapath", raw.datapath),
        xdp_mode: diagnostics.word("xdp_mode", raw.xdp_mode),
        offload: diagnostics.word("offload", raw.offload),
        offload_memory: diagnostics.mib("offload_memory_mib", raw.offload_memory_mib),
        style: diagnostics.word("style", raw.style),
        menu_prompt: raw.menu_prompt.map(Spanned::into_inner),
        menu_timeout: raw.menu_timeout,
        http_urls: Some(diagnostics.by_arch(raw.http_urls, Url::new)),
        yield_ipxe: raw.yield_ipxe,
        transfers: diagnostics.at_least_one("transfers", raw.transfers).map(|most| most as usize),
        windowsize: diagnostics.at_least_one("windowsize", raw.windowsize),
        foreign_chaddr: raw.foreign_chaddr,
        user: raw.user,
        confinement: diagnostics.word("confinement", raw.confinement),
        http_ipxe: raw.http.as_ref().map(|http| http.ipxe),
        http_port: diagnostics.at_least_one("port", raw.http.map(|http| http.port)),
        board: raw.board.map(|board| board_of(diagnostics, board)),
        inbox: raw.inbox.map(|inbox| inbox_of(diagnostics, inbox)),
        ledger: raw.ledger.and_then(|ledger| ledger_of(diagnostics, ledger)),
        upstream: raw.upstream.map(|table| upstream::upstream(diagnostics, table)),
        access: raw.access.map(|access| limits::access(diagnostics, access)),
        segment: raw.segment.and_then(|segment| segment::segment(diagnostics, segment, own_in_ledger)),
        ..SettingsLayer::default()
    };
    let limits = limits::rate_limits(diagnostics, raw.limits);
    limits.over(fleet(diagnostics, raw.fleet)).over(general)
}

fn links(follow: Option<bool>) -> Links {
    if follow == Some(false) { Links::Stay } else { Links::FollowAdministrators }
}

fn board_of(diagnostics: &mut Diagnostics<'_>, board: Spanned<raw::Board>) -> Board {
    let span = board.span();
    let raw::Board { listen, token_file } = board.into_inner();
    if !listen.ip().is_loopback() && token_file.is_none() {
        let text = "other hosts can reach this address, so the board needs a token: give `token_file`, or listen on 127.0.0.1";
        diagnostics.error(span, text);
    }
    Board { listen, token_file }
}

fn inbox_of(diagnostics: &mut Diagnostics<'_>, inbox: Spanned<raw::Inbox>) -> InboxSettings {
    let span = inbox.span();
    let raw::Inbox { directory, file_mib, machine_mib, total_mib } = inbox.into_inner();
    let default = InboxSettings::new(directory);
    let mut is_valid = true;
    let mut bytes = |key: &str, mib: Option<Spanned<u64>>, default: u64| {
        let is_given = mib.is_some();
        let bytes = diagnostics.mib(key, mib);
        is_valid &= bytes.is_some() || !is_given;
        bytes.unwrap_or(default)
    };
    let settings = InboxSettings {
        file: bytes("file_mib", file_mib, default.file),
        machine: bytes("machine_mib", machine_mib, default.machine),
        total: bytes("total_mib", total_mib, default.total),
        ..default
    };
    // A size that is wrong by itself says nothing about the others.
    if is_valid && (settings.file > settings.machine || settings.machine > settings.total) {
        diagnostics.error(span, "file_mib must not be above machine_mib, nor that above total_mib");
    }
    settings
}

fn ledger_of(diagnostics: &mut Diagnostics<'_>, ledger: Spanned<raw::Ledger>) -> Option<LedgerSettings> {
    let raw::Ledger { url, password_file, ca_file, responder, spool_mib } = ledger.into_inner();
    let parsed =
        postgres::Url::parse(url.get_ref()).map_err(|error| format!("the URL of the ledger {error}"));
    let parsed = diagnostics.accept(url.span(), parsed);
    let spool = diagnostics.mib("spool_mib", spool_mib).unwrap_or(SPOOL_MAX);
    let is_name = |name: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !name.is_empty() && name.len() <= 64 && name.chars().all(is_plain)
    };
    if let Some(name) = responder.as_ref().filter(|name| !is_name(name.get_ref())) {
        let text = "is no name for a responder: write 1 to 64 letters, digits, `.`, `_` or `-`";
        diagnostics.error(name.span(), format!("`{}` {text}", name.get_ref()));
    }
    let responder = responder.map(Spanned::into_inner);
    Some(LedgerSettings { url: parsed?, password_file, ca_file, responder, spool })
}

fn fleet(diagnostics: &mut Diagnostics<'_>, raw: raw::Fleet) -> SettingsLayer {
    let days = diagnostics.at_least_one("retention_days", raw.retention_days);
    let silence = diagnostics.at_least_one("silence_s", raw.silence_s);
    SettingsLayer {
        retention: days.map(|days| Duration::from_secs(u64::from(days) * 24 * 3600)),
        silence: silence.map(|seconds| Duration::from_secs(seconds.into())),
        events: raw.events,
        ..SettingsLayer::default()
    }
}

/// The sources of images that come from elsewhere, each with the line of its image.
fn sources(
    diagnostics: &mut Diagnostics<'_>,
    images: &BTreeMap<String, Spanned<raw::Image>>,
    lines: &[usize],
) -> Vec<(Source, usize)> {
    let all = images.iter().zip(lines);
    all.filter_map(|((name, image), line)| {
        Some((upstream::source(diagnostics, name, image.get_ref())?, *line))
    })
    .collect()
}

fn image_specs(
    diagnostics: &mut Diagnostics<'_>,
    images: BTreeMap<String, Spanned<raw::Image>>,
) -> Vec<ImageSpec> {
    images.into_iter().map(|(name, image)| image_spec(diagnostics, &name, image)).collect()
}

fn image_spec(diagnostics: &mut Diagnostics<'_>, name: &str, image: Spanned<raw::Image>) -> ImageSpec {
    let span = image.span();
    let image = image.into_inner();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 32 || !name.chars().all(is_plain) || name.starts_with('.') {
        let text = "is no name for an image: write 1 to 32 letters, digits, `.`, `_` or `-`, since it is a folder's name";
        diagnostics.error(span.clone(), format!("`{name}` {text}"));
    }
    if RESERVED.contains(&name) {
        diagnostics
            .error(span.clone(), format!("`{name}` is a name that pxed itself uses: give the image another"));
    }
    if image.kernel.is_none() && (!image.initrd.is_empty() || image.args.is_some()) {
        diagnostics.error(span.clone(), format!("image `{name}` has `initrd` or `args` but no `kernel`"));
    }
    if image.links.is_some() && image.root.is_none() {
        diagnostics.warning(span.clone(), format!("image `{name}`: `links` has no effect without `root`"));
    }
    for text in [&image.args, &image.ipxe, &image.pxelinux, &image.grub].into_iter().flatten() {
        let checked = pxe_content::boot::check_template(text.get_ref());
        diagnostics.accept(text.span(), checked.map_err(|error| format!("image `{name}`: {error}")));
    }
    if let Some(script) = image.ipxe.as_ref().filter(|script| !script.get_ref().starts_with("#!ipxe")) {
        diagnostics.error(script.span(), format!("image `{name}`: an iPXE script begins with `#!ipxe`"));
    }
    let inner = |text: Option<Spanned<String>>| text.map(Spanned::into_inner);
    ImageSpec {
        name: name.into(),
        stored: upstream::stored(&image),
        root: image.root.map(|root: PathBuf| (root, links(image.links))),
        boot_files: diagnostics.boot_files(image.boot_files),
        kernel: inner(image.kernel),
        initrd: image.initrd.into_iter().map(Spanned::into_inner).collect(),
        args: inner(image.args).unwrap_or_default(),
        ipxe: inner(image.ipxe),
        pxelinux: inner(image.pxelinux),
        grub: inner(image.grub),
        payload: inner(image.payload),
    }
}

/// Warns about images without effect. `booted` lists the images that rules name, including rules with mistakes.
fn unused_images(
    diagnostics: &mut Diagnostics<'_>,
    images: &[ImageSpec],
    lines: &[usize],
    booted: &[String],
) {
    for (image_spec, line) in images.iter().zip(lines) {
        if !booted.iter().any(|name| **name == *image_spec.name) {
            let text = format!("no rule boots image `{}`", image_spec.name);
            diagnostics.at(Some(*line), Severity::Warning, text);
        }
    }
}

/// Warns about rules for interfaces that the file does not serve. A file without interfaces leaves them to the command line.
fn unserved_interfaces(diagnostics: &mut Diagnostics<'_>, rules: &[RuleSpec], interfaces: &[String]) {
    let known = |name: &String| interfaces.is_empty() || interfaces.contains(name);
    for rule in rules {
        if let Some(name) = rule.matcher.interface.iter().find(|name| !known(name)) {
            let text = format!("rule `{}`: interface {name} is not served", rule.name);
            diagnostics.at(Some(rule.line), Severity::Warning, text);
        }
    }
}
