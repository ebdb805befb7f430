//! How the daemon works: the options that `serve` and `check` share.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::offer::Offer;
use crate::config::{Board, Config, RateLimit, RateLimits, words};
use crate::confine::Confinement;
use crate::server::{Options, Setup};
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

/// Most transfers that may be asked for: each worker has a slot for twice as many.
const TRANSFERS_MAX: u32 = 262_144;
/// Why the options and the configuration together make no sense.
#[derive(Debug, thiserror::Error)]
pub(super) enum OptionsError {
    /// Nothing to serve on.
    #[error(
        "no interface is named: give --interface IF, or --config FILE with `interfaces` (`pxed init` writes such a file)"
    )]
    NoInterface,
    /// One address cannot be several interfaces'.
    #[error("--address works with one interface only: start one pxed for each interface, or leave it out")]
    AddressOfMany,
    /// More than there are ports and places for.
    #[error("transfers = {0}: at most {TRANSFERS_MAX}")]
    TooManyTransfers(u32),
}

impl Daemon {
    /// What holds as long as the daemon runs.
    ///
    /// # Errors
    /// [`OptionsError`].
    pub(super) fn options(&self, offer: &Offer, file: &Config) -> Result<Options, OptionsError> {
        let interfaces = offer.interfaces(file);
        if interfaces.is_empty() {
            return Err(OptionsError::NoInterface);
        }
        let address = offer.address.or(file.address);
        if address.is_some() && interfaces.len() > 1 {
            return Err(OptionsError::AddressOfMany);
        }
        let transfers = self.transfers.or(file.transfers).unwrap_or(4096);
        if transfers > TRANSFERS_MAX {
            return Err(OptionsError::TooManyTransfers(transfers));
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
            take_over: false,
        })
    }

    /// The offer with this command line's limits.
    ///
    /// # Errors
    /// Those of [`Offer::setup`].
    pub(super) fn setup(&self, offer: &Offer, file: &Config) -> Result<Setup> {
        let mut setup = offer.setup(file)?;
        setup.offering.rate_limits = self.rate_limits(setup.offering.rate_limits);
        Ok(setup)
    }

    fn rate_limits(&self, RateLimits { dhcp, tftp }: RateLimits) -> RateLimits {
        let pace = |rate: Option<u32>, pace: RateLimit| RateLimit { rate: rate.unwrap_or(pace.rate), ..pace };
        RateLimits { dhcp: pace(self.dhcp_rate, dhcp), tftp: pace(self.tftp_rate, tftp) }
    }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "write ADDRESS:PORT, for example 127.0.0.1:7467")?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("other hosts can reach this address, so the board needs a token: configure [board] in the configuration file".into())
}
