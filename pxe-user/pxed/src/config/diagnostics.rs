//! Turns the parsed file into a [`Config`], and reports every problem with its line.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::raw::{self, MIB_MAX, Raw};
use super::words::Words;
use super::{Board, Config, FleetSettings, Http, InboxSettings, Problem, Severity, limits, line_of, rule};
use pxe_content::boot::{ImageSpec, Links};
use pxe_proto::dhcp::{Arch, BootFile, Url};

/// The problems so far, and the text for their lines.
pub(super) struct Diagnostics<'t> {
    text: &'t str,
    problems: Vec<Problem>,
}

impl Diagnostics<'_> {
    pub(super) fn line(&self, span: Range<usize>) -> usize {
        line_of(self.text, span.start)
    }

    pub(super) fn error(&mut self, span: Range<usize>, text: impl Display) {
        self.at(Some(self.line(span)), Severity::Error, text);
    }

    pub(super) fn warning(&mut self, span: Range<usize>, text: impl Display) {
        self.at(Some(self.line(span)), Severity::Warning, text);
    }

    pub(super) fn at(&mut self, line: Option<usize>, severity: Severity, text: impl Display) {
        self.problems.push(Problem { line, severity, text: text.to_string() });
    }

    /// Returns the value, or reports the error and returns `None`.
    pub(super) fn accept<T, E: Display>(&mut self, span: Range<usize>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.error(span, error)).ok()
    }

    /// The value of a word. Reports an unknown word and returns `None`.
    pub(super) fn word<T: Words>(&mut self, key: &str, word: Option<Spanned<String>>) -> Option<T> {
        let word = word?;
        let known: Vec<&str> = T::words().collect();
        let value = T::of_word(word.get_ref());
        let message = format!("{key} = \"{}\": write one of {}", word.get_ref(), known.join(", "));
        self.accept(word.span(), value.ok_or(message))
    }

    fn mib(&mut self, key: &str, value: Option<Spanned<u64>>) -> Option<u64> {
        let value = value?;
        let mib = *value.get_ref();
        if mib == 0 || mib > MIB_MAX {
            self.error(value.span(), format!("{key} = {mib}: write a number of MiB from 1 to {MIB_MAX}"));
            return None;
        }
        Some(mib << 20)
    }

    pub(super) fn at_least_one<T: Copy + PartialEq + From<u8> + Display>(
        &mut self,
        key: &str,
        value: Option<Spanned<T>>,
    ) -> Option<T> {
        let value = value?;
        let number = *value.get_ref();
        if number == T::from(0) {
            self.error(value.span(), format!("{key} = {number}: must be at least 1"));
        }
        Some(number)
    }

    fn by_arch<T, E: Display>(
        &mut self,
        table: BTreeMap<String, Spanned<String>>,
        value: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<(Arch, T)> {
        let mut all: Vec<(Arch, T)> = Vec::new();
        for (key, text) in table {
            let arch: Option<Arch> = self.accept(text.span(), key.parse());
            let value = self.accept(text.span(), value(text.get_ref()));
            let (Some(arch), Some(value)) = (arch, value) else { continue };
            if all.iter().any(|(known, _)| *known == arch) {
                self.error(text.span(), format!("{arch} is given twice, under two of its names"));
            }
            all.push((arch, value));
        }
        all
    }

    fn boot_files(&mut self, table: BTreeMap<String, Spanned<String>>) -> Vec<(Arch, String)> {
        self.by_arch(table, |name| BootFile::new(name).map(|_| name.to_owned()))
    }
}

/// The configuration as far as it can be understood, and all problems. `is_whole` means that nothing was removed from the file.
pub(super) fn check(text: &str, mut raw: Raw, is_whole: bool) -> (Config, Vec<Problem>) {
    let mut diagnostics = Diagnostics { text, problems: Vec::new() };
    let image_spec_lines = raw.images.values().map(|image| diagnostics.line(image.span())).collect();
    let image_specs = image_specs(&mut diagnostics, std::mem::take(&mut raw.images));
    let booted: Vec<String> =
        raw.rules.iter().filter_map(|rule| Some(rule.get_ref().image.as_ref()?.get_ref().clone())).collect();
    let rules = rule::rules(
        &mut diagnostics,
        std::mem::take(&mut raw.rules),
        &image_specs,
        raw.http.is_some(),
        is_whole,
    );
    let mut config = general(&mut diagnostics, raw);
    config.image_specs = image_specs;
    config.image_spec_lines = image_spec_lines;
    config.rules = rules;
    unused(&mut diagnostics, &config, &booted);
    (config, diagnostics.problems)
}

fn general(diagnostics: &mut Diagnostics<'_>, raw: Raw) -> Config {
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
    Config {
        address: raw.address,
        state: raw.state,
        socket: raw.socket,
        root: raw.root.map(|root| (root, links(raw.links))),
        boot_files: diagnostics.boot_files(raw.boot_files),
        memory: diagnostics.mib("memory_mib", raw.memory_mib),
        datapath: diagnostics.word("datapath", raw.datapath),
        xdp_mode: diagnostics.word("xdp_mode", raw.xdp_mode),
        offload: diagnostics.word("offload", raw.offload),
        offload_memory: diagnostics.mib("offload_memory_mib", raw.offload_memory_mib),
        style: diagnostics.word("style", raw.style),
        menu_prompt: raw.menu_prompt.map(Spanned::into_inner),
        menu_timeout: raw.menu_timeout,
        http_urls: diagnostics.by_arch(raw.http_urls, Url::new),
        yield_ipxe: raw.yield_ipxe,
        transfers: diagnostics.at_least_one("transfers", raw.transfers),
        windowsize: diagnostics.at_least_one("windowsize", raw.windowsize),
        foreign_chaddr: raw.foreign_chaddr,
        user: raw.user,
        confinement: diagnostics.word("confinement", raw.confinement),
        http: raw.http.and_then(|http| {
            let port = diagnostics.at_least_one("port", Some(http.port))?;
            Some(Http { port, ipxe: http.ipxe })
        }),
        board: raw.board.map(|board| board_of(diagnostics, board)),
        inbox: raw.inbox.map(|inbox| inbox_of(diagnostics, inbox)),
        access: limits::access(diagnostics, raw.access),
        rate_limits: limits::rate_limits(diagnostics, raw.limits),
        fleet: fleet_of(diagnostics, raw.fleet),
        interfaces,
        ..Config::default()
    }
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
    let bytes = |mib: Option<u64>, usual: u64| mib.unwrap_or(usual).clamp(1, MIB_MAX) << 20;
    let settings = InboxSettings {
        directory,
        file: bytes(file_mib, 16),
        machine: bytes(machine_mib, 64),
        total: bytes(total_mib, 1024),
    };
    if settings.file > settings.machine || settings.machine > settings.total {
        diagnostics.error(span, "file_mib must not be above machine_mib, nor that above total_mib");
    }
    settings
}

fn fleet_of(diagnostics: &mut Diagnostics<'_>, raw: raw::Fleet) -> FleetSettings {
    let usual = FleetSettings::default();
    let days = diagnostics.at_least_one("retention_days", raw.retention_days);
    let silence = diagnostics.at_least_one("silence_s", raw.silence_s);
    FleetSettings {
        retention: days.map_or(usual.retention, |days| Duration::from_secs(u64::from(days) * 24 * 3600)),
        silence: silence.map_or(usual.silence, |seconds| Duration::from_secs(seconds.into())),
        events: raw.events,
    }
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
    if raw::RESERVED.contains(&name) {
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

/// Warns about images and interfaces without effect. `booted` lists the images that rules name, including rules with mistakes.
fn unused(diagnostics: &mut Diagnostics<'_>, config: &Config, booted: &[String]) {
    for (image_spec, line) in config.image_specs.iter().zip(&config.image_spec_lines) {
        if !booted.iter().any(|name| **name == *image_spec.name) {
            diagnostics.at(
                Some(*line),
                Severity::Warning,
                format!("no rule boots image `{}`", image_spec.name),
            );
        }
    }
    let known = |name: &String| config.interfaces.is_empty() || config.interfaces.contains(name);
    for rule in &config.rules {
        if let Some(name) = rule.matcher.interface.iter().find(|name| !known(name)) {
            let text = format!("rule `{}`: interface {name} is not served", rule.name);
            diagnostics.at(Some(rule.line), Severity::Warning, text);
        }
    }
}
