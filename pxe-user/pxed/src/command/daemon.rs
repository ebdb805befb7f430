//! The options about the daemon, which `serve` and `check` share, and the check of all settings together.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::offer::Offer;
use crate::config::{Board, Config, Settings, SettingsLayer, words};
use crate::confine::Confinement;
use pxe_engine::plan::{DatapathChoice, ModeChoice, OffloadChoice};

/// How the daemon works.
#[derive(Clone, Debug, Args)]
pub(crate) struct Daemon {
    /// How packets reach the daemon: auto takes XDP where it works, else plain sockets [default: auto]
    #[arg(long, value_parser = words::parser::<DatapathChoice>())]
    datapath: Option<DatapathChoice>,
    /// Where the XDP program runs: auto takes native on network cards and generic on virtual interfaces [default: auto]
    #[arg(long, value_parser = words::parser::<ModeChoice>())]
    xdp_mode: Option<ModeChoice>,
    /// Where the kernel answers ACKs without the daemon: auto uses what the driver and the kernel support [default:
    /// auto]
    #[arg(long, value_parser = words::parser::<OffloadChoice>())]
    offload: Option<OffloadChoice>,
    /// Memory for files that the kernel sends itself, in MiB per interface; allocated when a file is requested
    /// [default: 256]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=65536))]
    offload_memory: Option<u64>,
    /// Maximum number of simultaneous transfers; further requests wait, and are rejected if they wait too long
    /// [default: 4096]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(TRANSFERS_MAX)))]
    transfers: Option<u32>,
    /// Maximum TFTP window size in blocks (RFC 7440) [default: 64]
    #[arg(long, value_name = "BLOCKS", value_parser = clap::value_parser!(u16).range(1..))]
    windowsize: Option<u16>,
    /// Rate limit for DHCP requests of one machine, per second; 0 for no limit [default: 10]
    #[arg(long, value_name = "N")]
    dhcp_rate: Option<u32>,
    /// Rate limit for file requests of one address, per second; 0 for no limit [default: 100]
    #[arg(long, value_name = "N")]
    tftp_rate: Option<u32>,
    /// Store machines and their boot history in this directory; without it, and without `state` in the configuration, pxed forgets them when it ends
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Unix socket for `pxed status` and other commands [default: /run/pxed/pxed.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Serve the dashboard on this loopback address, for example 127.0.0.1:7467; other addresses need [board] with a
    /// token in the configuration file
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = loopback)]
    board: Option<SocketAddr>,
    /// User that the daemon switches to when started as root [default: pxed, or nobody if there is no such user]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Whether the daemon drops privileges after the start: auto drops what the kernel supports, require fails
    /// without full support, off keeps all [default: auto]
    #[arg(long, value_parser = words::parser::<Confinement>())]
    confinement: Option<Confinement>,
}

/// The most transfers that pxed accepts. Each worker has a slot for twice as many.
const TRANSFERS_MAX: u32 = 262_144;

/// Why no daemon can run with these settings.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingsError {
    /// Neither the command line nor the file names an interface.
    #[error(
        "no interface is named: give --interface IF, or --config FILE with `interfaces` (`pxed init` writes such a file)"
    )]
    NoInterface,
    /// Several interfaces cannot have the same address.
    #[error("--address works with one interface only: start one pxed for each interface, or leave it out")]
    AddressOfMany,
    /// The workers have no ports and slots for so many.
    #[error("transfers = {0}: at most {TRANSFERS_MAX}")]
    TooManyTransfers(usize),
    /// Batches wait in the directory while the database is away.
    #[error(
        "[ledger] needs a directory on this host, where history waits while the database is away: give `state` or --state"
    )]
    LedgerWithoutState,
}

impl Daemon {
    /// The settings of a daemon: these options and those of `offer`, over the file.
    pub(super) fn settings(&self, offer: &Offer, file: &Config) -> Settings {
        Settings::new(self.layer().over(offer.layer()).over(file.settings.clone()))
    }

    /// The settings that these options give.
    fn layer(&self) -> SettingsLayer {
        SettingsLayer {
            datapath: self.datapath,
            xdp_mode: self.xdp_mode,
            offload: self.offload,
            offload_memory: self.offload_memory.map(|mib| mib << 20),
            transfers: self.transfers.map(|most| most as usize),
            windowsize: self.windowsize,
            dhcp_rate: self.dhcp_rate,
            tftp_rate: self.tftp_rate,
            state: self.state.clone(),
            socket: self.socket.clone(),
            board: self.board.map(|listen| Board { listen, token_file: None }),
            user: self.user.clone(),
            confinement: self.confinement,
            ..SettingsLayer::default()
        }
    }
}

/// Checks what a daemon needs beyond valid values.
///
/// # Errors
/// [`SettingsError`].
pub(super) fn validate(settings: &Settings) -> Result<(), SettingsError> {
    if settings.interfaces.is_empty() {
        return Err(SettingsError::NoInterface);
    }
    if settings.address.is_some() && settings.interfaces.len() > 1 {
        return Err(SettingsError::AddressOfMany);
    }
    if settings.transfers > TRANSFERS_MAX as usize {
        return Err(SettingsError::TooManyTransfers(settings.transfers));
    }
    if settings.ledger.is_some() && settings.state.is_none() {
        return Err(SettingsError::LedgerWithoutState);
    }
    Ok(())
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "write ADDRESS:PORT, for example 127.0.0.1:7467")?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("other hosts can reach this address, so the board needs a token: configure [board] in the configuration file".into())
}
