//! The options about what machines are offered, which `serve`, `check` and `explain` share, and the configuration file
//! that they complete.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use super::options::{Files, pair};
use crate::config::{Config, Http, words};
use crate::offering::Offering;
use crate::server::Setup;
use pxe_proto::dhcp::{Arch, Menu, MenuItem, Style, Text, Url};

/// What is offered, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct Offer {
    /// Interface in the machines' network; may be repeated
    #[arg(long = "interface", short, value_name = "IF")]
    pub(super) interfaces: Vec<String>,
    /// Read rules, images and everything else from this file (docs/pxed.toml shows all of it); options given here win
    #[arg(long, short, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    files: Files,
    /// Address that machines load files from [default: the interface's first IPv4 address]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) address: Option<Ipv4Addr>,
    /// How machines are sent a boot offer [default: direct]
    #[arg(long, value_parser = words::parser::<Style>())]
    style: Option<Style>,
    /// Text of the boot menu's prompt, with --style menu [default: Press F8 for the boot menu]
    #[arg(long, value_name = "TEXT")]
    menu_prompt: Option<String>,
    /// Seconds until the boot menu's first entry is taken [default: 5]
    #[arg(long, value_name = "SECONDS")]
    menu_timeout: Option<u8>,
    /// URL that pxed offers to UEFI HTTP boot clients of an architecture (ARCH as in --boot-file); may be repeated
    #[arg(long = "http-url", value_name = "ARCH=URL", value_parser = http_url)]
    http_urls: Vec<(Arch, Url)>,
    /// Serve the same files over HTTP on this port of each served address, for UEFI HTTP boot, iPXE and GRUB; memory
    /// tests report there, too
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    http_port: Option<u16>,
    /// Let iPXE prefer the DHCP server's boot file to pxed's
    #[arg(long)]
    yield_ipxe: bool,
}

/// The type of the menu entry that boots from pxed. Any value except 0, which means the local disk (PXE 2.1).
const MENU_TYPE: u16 = 1;

impl Offer {
    /// Reads the configuration file, or returns the default without one. Warnings go to the log.
    pub(super) fn read(&self) -> Result<Config> {
        let Some(path) = &self.config else { return Ok(Config::default()) };
        let (config, warnings) = Config::read(path)?;
        for warning in warnings {
            tracing::warn!(file = %path.display(), "{warning}");
        }
        Ok(config)
    }

    /// The interfaces of the command line, or else the file's; sorted, without duplicates.
    pub(super) fn interfaces(&self, file: &Config) -> Vec<String> {
        let mut interfaces =
            if self.interfaces.is_empty() { &file.interfaces } else { &self.interfaces }.clone();
        interfaces.sort();
        interfaces.dedup();
        interfaces
    }

    /// The part of the configuration that can change while the daemon runs.
    pub(super) fn setup(&self, file: &Config) -> Result<Setup> {
        let style = self.style.or(file.style);
        let needs_menu =
            style == Some(Style::Menu) || file.rules.iter().any(|rule| rule.style == Some(Style::Menu));
        let mut http_urls = self.http_urls.clone();
        let named: Vec<Arch> = http_urls.iter().map(|(arch, _)| *arch).collect();
        http_urls.extend(file.http_urls.iter().filter(|(arch, _)| !named.contains(arch)).cloned());
        let ipxe = file.http.is_some_and(|http| http.ipxe);
        let http = self.http_port.map(|port| Http { port, ipxe }).or(file.http);
        let offering = Offering {
            style,
            menu: if needs_menu { Some(self.menu(file)?) } else { None },
            http_urls,
            ipxe_priority: !(self.yield_ipxe || file.yield_ipxe == Some(true)),
            http,
            rules: self.files.rules(file),
            access: file.access.clone(),
            rate_limits: file.rate_limits,
        };
        Ok(Setup { offering, files: self.files.config(file)?, fleet: file.fleet.clone() })
    }

    fn menu(&self, file: &Config) -> Result<Menu> {
        let text = |text: &str| Text::new(text);
        let items = vec![
            MenuItem::boot(MENU_TYPE, text("Memory test")?, None)?,
            MenuItem::local(text("Local disk")?),
        ];
        let prompt = self.menu_prompt.as_ref().or(file.menu_prompt.as_ref());
        let prompt = prompt.map_or("Press F8 for the boot menu", String::as_str);
        let timeout = self.menu_timeout.or(file.menu_timeout).unwrap_or(5);
        Menu::new(text(prompt)?, timeout, items).context("the menu's prompt")
    }
}

fn http_url(text: &str) -> Result<(Arch, Url), String> {
    let (arch, url) = pair(text)?;
    Ok((arch.parse().map_err(|error| format!("{error}"))?, Url::new(url).map_err(|error| error.to_string())?))
}
