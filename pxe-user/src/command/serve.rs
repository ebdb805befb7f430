//! `pxed serve`: the command line, the configuration file, and which of both wins.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::options::{Files, pair};
use crate::config::{Board, Config, Http, Pace, Paces};
use crate::confine::Confinement;
use crate::dhcp::{Arch, Menu, MenuItem, Style, Text, Url};
use crate::plan::{DatapathChoice, ModeChoice, OffloadChoice};
use crate::server::{Kept, Offering, Options, Reread, Server, Setup};

/// Where and how to serve.
#[derive(Clone, Debug, Args)]
pub(crate) struct Serve {
    /// Interface in the machines' network; may be repeated
    #[arg(long = "interface", short, value_name = "IF", required_unless_present = "config")]
    pub(super) interfaces: Vec<String>,
    /// Read rules, images and everything else from this file (docs/pxed.toml shows all of it); options given here win
    #[arg(long, short, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    files: Files,
    /// How packets reach the daemon: auto takes XDP where it works, else plain sockets [default: auto]
    #[arg(long, value_enum)]
    datapath: Option<DatapathChoice>,
    /// Where the XDP program runs: auto takes native on network cards and generic on virtual interfaces [default: auto]
    #[arg(long, value_enum)]
    xdp_mode: Option<ModeChoice>,
    /// Where the kernel answers ACKs by itself, without the daemon: auto takes what the driver and the kernel allow
    /// [default: auto]
    #[arg(long, value_enum)]
    offload: Option<OffloadChoice>,
    /// Memory for the files that the kernel sends by itself, in MiB per interface; it is taken when they are asked for
    /// [default: 256]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=65536))]
    offload_memory: Option<u64>,
    /// Address that machines load files from [default: the interface's first IPv4 address]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) address: Option<Ipv4Addr>,
    /// How machines are told what to boot [default: direct]
    #[arg(long, value_enum)]
    style: Option<Style>,
    /// Text of the boot menu's prompt, with --style menu [default: Press F8 for the boot menu]
    #[arg(long, value_name = "TEXT")]
    menu_prompt: Option<String>,
    /// Seconds until the boot menu's first entry is taken [default: 5]
    #[arg(long, value_name = "SECONDS")]
    menu_timeout: Option<u8>,
    /// URL that UEFI HTTP boot clients of an architecture are told (ARCH as in --boot-file); may be repeated
    #[arg(long = "http-url", value_name = "ARCH=URL", value_parser = http_url)]
    http_urls: Vec<(Arch, Url)>,
    /// Serve the same files over HTTP on this port of the interfaces' addresses, for UEFI HTTP boot, iPXE and GRUB, and take
    /// reports of memory tests there
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    http_port: Option<u16>,
    /// Let iPXE prefer a boot file that the network's DHCP server names to ours
    #[arg(long)]
    yield_ipxe: bool,
    /// Most transfers at a time; requests beyond wait for their turn, and are refused when their patience ends
    /// [default: 4096]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(TRANSFERS_MAX)))]
    transfers: Option<u32>,
    /// Most blocks in a TFTP window (RFC 7440) [default: 64]
    #[arg(long, value_name = "BLOCKS", value_parser = clap::value_parser!(u16).range(1..))]
    windowsize: Option<u16>,
    /// DHCP requests of one machine that are answered a second, in the long run; 0 for no limit [default: 10]
    #[arg(long, value_name = "N")]
    dhcp_rate: Option<u32>,
    /// The same for requests for files from one address [default: 100]
    #[arg(long, value_name = "N")]
    tftp_rate: Option<u32>,
    /// Keep what is known of machines here; without it, and without `state` in the configuration, it goes with the daemon
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The socket through which `pxed status` and others ask [default: /run/pxed/pxed.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Show the fleet as a web page on this address of this host, for example 127.0.0.1:7467; other addresses need the
    /// configuration file, and a token there
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = loopback)]
    board: Option<SocketAddr>,
    /// The user that the daemon becomes when root has started it [default: pxed, or nobody where there is no such user]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Whether rights that only the start needs are given up: as far as the kernel can, all or no start, or not at all
    /// [default: auto]
    #[arg(long, value_enum)]
    confinement: Option<Confinement>,
    /// Go on with the work of the pxed that serves these interfaces now, transfers included; it ends. Without one this is an
    /// ordinary start
    #[arg(long)]
    take_over: bool,
}

/// Most transfers that may be asked for: each worker has a slot for twice as many.
const TRANSFERS_MAX: u32 = 262_144;
/// The type of the menu's entry that boots: any but 0, which is the local disk (PXE 2.1).
const MENU_TYPE: u16 = 1;

/// Why the options and the configuration together make no sense.
#[derive(Debug, thiserror::Error)]
pub(super) enum OptionsError {
    /// Nothing to serve on.
    #[error("no interface is named: write `interfaces = [\"eth0\"]` into the file, or give --interface")]
    NoInterface,
    /// One address cannot be several interfaces'.
    #[error("--address goes with one interface: start pxed once for each, or leave it out")]
    AddressOfMany,
    /// More than there are ports and places for.
    #[error("transfers = {0}: at most {TRANSFERS_MAX}")]
    TooManyTransfers(u32),
}

impl Serve {
    /// The configuration file, if one is named; warnings go to the log.
    pub(super) fn read(&self) -> Result<Config> {
        let Some(path) = &self.config else { return Ok(Config::default()) };
        let (config, warnings) = Config::read(path)?;
        for warning in warnings {
            tracing::warn!(file = %path.display(), "{warning}");
        }
        Ok(config)
    }

    /// What holds as long as the daemon runs.
    pub(super) fn options(&self, file: &Config) -> Result<Options> {
        let mut interfaces =
            if self.interfaces.is_empty() { &file.interfaces } else { &self.interfaces }.clone();
        interfaces.sort();
        interfaces.dedup();
        if interfaces.is_empty() {
            bail!(OptionsError::NoInterface);
        }
        let address = self.address.or(file.address);
        if address.is_some() && interfaces.len() > 1 {
            bail!(OptionsError::AddressOfMany);
        }
        let transfers = self.transfers.or(file.transfers).unwrap_or(4096);
        if transfers > TRANSFERS_MAX {
            bail!(OptionsError::TooManyTransfers(transfers));
        }
        Ok(Options {
            interfaces,
            address,
            datapath: self.datapath.or(file.datapath).unwrap_or_default(),
            mode: self.xdp_mode.or(file.xdp_mode).unwrap_or_default(),
            offload: self.offload.or(file.offload).unwrap_or_default(),
            offload_memory: self
                .offload_memory
                .map(|mib| mib << 20)
                .or(file.offload_memory)
                .unwrap_or(256 << 20),
            transfers: transfers as usize,
            windowsize: self.windowsize.or(file.windowsize).unwrap_or(64),
            foreign_chaddr: file.foreign_chaddr.unwrap_or(false),
            state: self.state.clone().or_else(|| file.state.clone()),
            socket: self.socket.clone().or_else(|| file.socket.clone()),
            board: self.board.map(|listen| Board { listen, token_file: None }).or_else(|| file.board.clone()),
            inbox: file.inbox.clone(),
            user: self.user.clone().or_else(|| file.user.clone()),
            confinement: self.confinement.or(file.confinement).unwrap_or_default(),
            take_over: self.take_over,
        })
    }

    /// What can change while it runs.
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
            paces: self.paces(file),
        };
        Ok(Setup { offering, files: self.files.config(file)?, fleet: file.fleet.clone() })
    }

    fn paces(&self, file: &Config) -> Paces {
        let pace = |rate: Option<u32>, pace: Pace| Pace { rate: rate.unwrap_or(pace.rate), ..pace };
        let Paces { dhcp, tftp } = file.paces;
        Paces { dhcp: pace(self.dhcp_rate, dhcp), tftp: pace(self.tftp_rate, tftp) }
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

    pub(super) fn run(&self) -> Result<()> {
        // Before anything that may fail: with the process it goes then, and the interfaces are free.
        let kept = Kept::take();
        let file = self.read()?;
        let options = self.options(&file)?;
        // Before the files: a wrong name on the command line should be the first thing that is said.
        options.plans()?;
        let setup = self.setup(&file)?;
        let again = self.clone();
        let read = Box::new(move || {
            let file = again.read()?;
            Ok((again.options(&file)?, again.setup(&file)?))
        });
        let reread = Reread { file: self.config.clone(), read };
        Server::start(&options, setup, reread, kept)?.run()
    }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "write ADDRESS:PORT, for example 127.0.0.1:7467")?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("beyond this host the board needs a token: say so in the configuration file, [board]".into())
}

fn http_url(text: &str) -> Result<(Arch, Url), String> {
    let (arch, url) = pair(text)?;
    Ok((arch.parse().map_err(|error| format!("{error}"))?, Url::new(url).map_err(|error| error.to_string())?))
}
