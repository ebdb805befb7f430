//! `pxed serve`.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use super::options::{Files, pair};
use crate::dhcp::{Arch, Menu, MenuItem, Style, Text, Url};
use crate::plan::{DatapathChoice, ModeChoice, OffloadChoice};
use crate::server::{Options, Server};

/// Where and how to serve.
#[derive(Clone, Debug, Args)]
pub(crate) struct Serve {
    /// Interface in the machines' network; may be repeated
    #[arg(long = "interface", short, value_name = "IF", required = true)]
    interfaces: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// How packets reach the daemon: auto takes XDP where it works, else plain sockets
    #[arg(long, value_enum, default_value_t)]
    datapath: DatapathChoice,
    /// Where the XDP program runs: auto takes native on network cards and generic on virtual interfaces
    #[arg(long, value_enum, default_value_t)]
    xdp_mode: ModeChoice,
    /// Where the kernel answers ACKs by itself, without the daemon: auto takes what the driver and the kernel allow
    #[arg(long, value_enum, default_value_t)]
    offload: OffloadChoice,
    /// Memory for the files that the kernel sends by itself, in MiB per interface; it is taken when they are asked for
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=65536))]
    offload_memory: u64,
    /// Address that machines load files from [default: the interface's first IPv4 address]
    #[arg(long, value_name = "ADDRESS")]
    address: Option<Ipv4Addr>,
    /// How machines are told what to boot
    #[arg(long, value_enum, default_value_t)]
    style: StyleChoice,
    /// Text of the boot menu's prompt, with --style menu
    #[arg(long, value_name = "TEXT", default_value = "Press F8 for the boot menu")]
    menu_prompt: String,
    /// Seconds until the boot menu's first entry is taken
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    menu_timeout: u8,
    /// URL that UEFI HTTP boot clients of an architecture are told (ARCH as in --boot-file); may be repeated
    #[arg(long = "http-url", value_name = "ARCH=URL", value_parser = http_url)]
    http_urls: Vec<(Arch, Url)>,
    /// Let iPXE prefer a boot file that the network's DHCP server names to ours
    #[arg(long)]
    yield_ipxe: bool,
    /// Most transfers at a time; requests beyond wait for their turn, and are refused when their patience ends
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=262_144))]
    transfers: u32,
    /// Most blocks in a TFTP window (RFC 7440)
    #[arg(long, value_name = "BLOCKS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    windowsize: u16,
}

/// How machines are told what to boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum StyleChoice {
    /// The offer leads straight to TFTP; machines that ignore that get binl the next time.
    #[default]
    Direct,
    /// The machine asks again on port 4011: a second slower, understood by all.
    Binl,
    /// A menu: memory test, or local disk.
    Menu,
}

/// The type of the menu's entry that boots: any but 0, which is the local disk (PXE 2.1).
const MENU_TYPE: u16 = 1;

impl Serve {
    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn options(&self) -> Result<Options> {
        let mut interfaces = self.interfaces.clone();
        interfaces.sort();
        interfaces.dedup();
        if self.address.is_some() && interfaces.len() > 1 {
            bail!("--address goes with one interface: start pxed once for each, or leave it out");
        }
        Ok(Options {
            interfaces,
            address: self.address,
            datapath: self.datapath,
            mode: self.xdp_mode,
            offload: self.offload,
            offload_memory: self.offload_memory << 20,
            style: match self.style {
                StyleChoice::Direct => Style::Direct,
                StyleChoice::Binl => Style::Binl,
                StyleChoice::Menu => Style::Menu,
            },
            menu: if self.style == StyleChoice::Menu { Some(self.menu()?) } else { None },
            http: self.http_urls.clone(),
            ipxe_priority: !self.yield_ipxe,
            transfers: self.transfers as usize,
            windowsize: self.windowsize,
        })
    }

    fn menu(&self) -> Result<Menu> {
        let text = |text: &str| Text::new(text);
        let items = vec![
            MenuItem::boot(MENU_TYPE, text("Memory test")?, None)?,
            MenuItem::local(text("Local disk")?),
        ];
        Menu::new(text(&self.menu_prompt)?, self.menu_timeout, items).context("--menu-prompt")
    }

    pub(super) fn run(&self) -> Result<()> {
        let options = self.options()?;
        // Before the files: a wrong name on the command line should be the first thing that is said.
        options.plans()?;
        let catalogue = self.files.open()?;
        for missing in catalogue.missing() {
            tracing::warn!("{missing}");
        }
        Server::start(&options, catalogue)?.run()
    }
}

fn http_url(text: &str) -> Result<(Arch, Url), String> {
    let (arch, url) = pair(text)?;
    Ok((arch.parse().map_err(|error| format!("{error}"))?, Url::new(url).map_err(|error| error.to_string())?))
}
