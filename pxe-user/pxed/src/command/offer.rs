//! The options about what machines are offered, which `serve`, `check` and `explain` share, and the configuration file
//! that they complete.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::linux::LinuxError;
use super::options::{Files, pair};
use crate::config::{Config, Settings, SettingsLayer, words};
use pxe_proto::dhcp::{Arch, Style, Url};

/// What is offered, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct Offer {
    /// Interface in the machines' network; may be repeated
    #[arg(long = "interface", short, value_name = "IF")]
    interfaces: Vec<String>,
    /// Read rules, images and everything else from this file (docs/pxed.toml shows all of it); options given here win
    #[arg(long, short, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    files: Files,
    /// Address that machines load files from [default: the interface's first IPv4 address]
    #[arg(long, value_name = "ADDRESS")]
    address: Option<Ipv4Addr>,
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

    /// The settings that these options give, except those of `--kernel`.
    pub(super) fn layer(&self) -> SettingsLayer {
        let general = SettingsLayer {
            interfaces: (!self.interfaces.is_empty()).then(|| self.interfaces.clone()),
            address: self.address,
            style: self.style,
            menu_prompt: self.menu_prompt.clone(),
            menu_timeout: self.menu_timeout,
            http_urls: Some(self.http_urls.clone()),
            http_port: self.http_port,
            yield_ipxe: self.yield_ipxe.then_some(true),
            ..SettingsLayer::default()
        };
        general.over(self.files.layer())
    }

    /// Replaces what machines boot by the Linux of `--kernel`, if that is given.
    ///
    /// # Errors
    /// [`LinuxError`].
    pub(super) fn add_linux(&self, settings: &mut Settings) -> Result<(), LinuxError> {
        self.files.linux().apply(settings)
    }
}

fn http_url(text: &str) -> Result<(Arch, Url), String> {
    let (arch, url) = pair(text)?;
    Ok((arch.parse().map_err(|error| format!("{error}"))?, Url::new(url).map_err(|error| error.to_string())?))
}
