//! The command line of the load generator (`pxe-load`) as a type. The benchmark fills it in, and the generator parses it.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// The default of `--port`.
pub const PORT: u16 = 2070;
/// Of one of so many blocks every byte is compared in the kernel, unless it is told another number.
pub const COMPARE: u32 = 16;
/// The most strangers: the addresses in the upper half of 10.50.0.0/16, without the broadcast address.
pub const STRANGERS_MOST: u32 = 0x7fff;

/// Simulates many machines that boot at once.
#[derive(Clone, Debug, Parser, PartialEq)]
#[command(name = "load")]
pub struct Options {
    /// Interface towards the server
    #[arg(long)]
    pub interface: String,
    /// The server's address
    #[arg(long, required_unless_present_any = ["reflector", "foreign"])]
    pub server: Option<Ipv4Addr>,
    /// Ethernet address of the server (default: broadcast)
    #[arg(long, value_parser = mac)]
    pub server_mac: Option<[u8; 6]>,
    /// Number of machines
    #[arg(long, default_value_t = 128)]
    pub machines: u32,
    /// Name of the file on the server
    #[arg(long, required_unless_present_any = ["reflector", "reflect", "boot", "dhcp", "foreign", "http"], requires = "original")]
    pub file: Option<String>,
    /// The same file on this host, to compare every byte
    #[arg(long)]
    pub original: Option<PathBuf>,
    /// Bytes per block
    #[arg(long, default_value_t = 1468)]
    pub blksize: u16,
    /// Blocks per window
    #[arg(long, default_value_t = 1)]
    pub windowsize: u16,
    /// Firmware that boots, instead of one transfer; with --dhcp: the sender of the DISCOVERs
    #[arg(long)]
    pub boot: Option<Boot>,
    /// Files that a machine loads in a boot: the boot file, then others
    #[arg(long, value_name = "NAME=PATH", value_delimiter = ',', value_parser = pair)]
    pub files: Vec<(String, PathBuf)>,
    /// Requests for files that do not exist, before the last file
    #[arg(long, default_value_t = 0)]
    pub misses: u16,
    /// Send only DISCOVERs: so many from each machine, one after the other
    #[arg(long, value_name = "COUNT")]
    pub dhcp: Option<u32>,
    /// Send frames of so many bytes to a reflector, one for each machine at a time
    #[arg(long, value_name = "LEN")]
    pub reflect: Option<usize>,
    /// Seconds of --reflect
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Load this path over HTTP from port 80, by as many connections as machines, for --seconds
    #[arg(long, value_name = "PATH", requires = "from")]
    pub http: Option<String>,
    /// Address of the first HTTP client; the others have the following ones. This host must have them
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<Ipv4Addr>,
    /// All HTTP clients have the address of the first
    #[arg(long)]
    pub from_one: bool,
    /// HTTP clients ask for an offer first, through a relay at this address, and load once; --seconds does not count
    #[arg(long, value_name = "ADDRESS", requires = "http")]
    pub relay: Option<Ipv4Addr>,
    /// Run the reflector on the interface, until standard input ends
    #[arg(long)]
    pub reflector: bool,
    /// Print how long the daemon's programs run for frames that are not for the daemon, and end
    #[arg(long)]
    pub foreign: bool,
    /// XDP mode of the reflector
    #[arg(long, default_value = "native")]
    pub mode: ReflectorMode,
    /// The kernel acknowledges the blocks of transfers in their steady state; only with --file
    #[arg(long, conflicts_with_all = ["boot", "dhcp", "or"])]
    pub in_kernel: bool,
    /// Of one of so many blocks the kernel compares every byte, of the others number and length; a power of two
    #[arg(long, value_name = "BLOCKS", default_value_t = COMPARE)]
    pub compare: u32,
    /// How often each machine loads its files, one time after the other
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub loads: u16,
    /// Stop then, in seconds, and count what has arrived so far
    #[arg(long, value_name = "SECONDS")]
    pub stop_after: Option<f64>,
    /// Least length of TFTP frames; zeros follow the datagram
    #[arg(long, value_name = "LEN", default_value_t = 0)]
    pub pad: usize,
    /// First port of each machine: servers may still know the ports of an earlier run
    #[arg(long, default_value_t = PORT, value_parser = clap::value_parser!(u16).range(1024..60_000))]
    pub port: u16,
    /// Milliseconds within which the machines are switched on
    #[arg(long, default_value_t = 0)]
    pub power_on: u64,
    /// Lost frames on the way to the machines, per mille
    #[arg(long, default_value_t = 0)]
    pub loss: u32,
    /// Duplicated frames on that way, per mille
    #[arg(long, default_value_t = 0)]
    pub duplicate: u32,
    /// Reordered frames on that way, per mille
    #[arg(long, default_value_t = 0)]
    pub reorder: u32,
    /// Lose, duplicate and reorder also the frames that machines send
    #[arg(long)]
    pub both_ways: bool,
    /// Seed of the choice of these frames
    #[arg(long, default_value_t = 0x9e37_79b9)]
    pub seed: u32,
    /// Number of times that a machine that gave up is switched on again
    #[arg(long, default_value_t = 0)]
    pub again: u8,
    /// Another version of the file that is accepted, too
    #[arg(long, value_name = "PATH")]
    pub or: Option<PathBuf>,
    /// Number of requests for the file under forged addresses
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=i64::from(STRANGERS_MOST)))]
    pub strangers: u32,
    /// Forged requests in a second
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    pub strangers_rate: u32,
    /// Seconds after the last forged request for which the replies are counted
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub listen: u64,
    /// Limit of the run, in seconds
    #[arg(long, default_value_t = 60)]
    pub limit: u64,
    /// Processor to run on
    #[arg(long)]
    pub cpu: Option<usize>,
}

/// The firmware or boot loader that boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Boot {
    /// iPXE, as option ROM of a BIOS machine
    Ipxe,
    /// The PXE driver of EDK2
    Edk2,
    /// PXELINUX, started by iPXE's ROM
    Pxelinux,
    /// GRUB for EFI, started by EDK2
    Grub,
    /// All four in turn
    Mix,
}

/// The XDP mode of the reflector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReflectorMode {
    /// In the driver
    Native,
    /// In the kernel's generic hook
    Generic,
    /// Instead: turn an ACK into the next block of --original, in the driver, by `XDP_TX`
    CopyTx,
    /// The same, by a redirect to the interface
    CopyRedirect,
    /// The same, at tcx ingress
    CopyTcx,
}

impl Options {
    /// The options for an interface, with all defaults.
    #[must_use]
    pub fn new(interface: &str) -> Self {
        // `--reflector` is the mode that requires no other options.
        let mut options = Self::parse_from(["load", "--reflector", "--interface", interface]);
        options.reflector = false;
        options
    }

    /// The command line that parses to these options.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let mut words = Words::default();
        words.add("--interface", &self.interface);
        words.maybe("--server", self.server.as_ref());
        let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
        words.maybe("--server-mac", self.server_mac.map(mac).as_ref());
        words.add("--machines", self.machines);
        words.maybe("--file", self.file.as_ref());
        words.maybe("--original", self.original.as_ref().map(|path| path.display()).as_ref());
        words.add("--blksize", self.blksize);
        words.add("--windowsize", self.windowsize);
        words.maybe(
            "--boot",
            self.boot.and_then(|boot| Some(boot.to_possible_value()?.get_name().to_owned())).as_ref(),
        );
        for (name, path) in &self.files {
            words.add("--files", format!("{name}={}", path.display()));
        }
        words.add("--misses", self.misses);
        words.maybe("--dhcp", self.dhcp.as_ref());
        words.maybe("--reflect", self.reflect.as_ref());
        words.add("--seconds", self.seconds);
        words.flag("--reflector", self.reflector);
        words.maybe("--http", self.http.as_ref());
        words.maybe("--from", self.from.as_ref());
        words.flag("--from-one", self.from_one);
        words.maybe("--relay", self.relay.as_ref());
        words.flag("--foreign", self.foreign);
        words.maybe("--mode", self.mode.to_possible_value().map(|mode| mode.get_name().to_owned()).as_ref());
        words.flag("--in-kernel", self.in_kernel);
        words.add("--compare", self.compare);
        words.add("--loads", self.loads);
        words.maybe("--stop-after", self.stop_after.as_ref());
        words.add("--pad", self.pad);
        words.add("--port", self.port);
        words.add("--power-on", self.power_on);
        words.add("--loss", self.loss);
        words.add("--duplicate", self.duplicate);
        words.add("--reorder", self.reorder);
        words.flag("--both-ways", self.both_ways);
        words.add("--seed", self.seed);
        words.add("--again", self.again);
        words.maybe("--or", self.or.as_ref().map(|path| path.display()).as_ref());
        words.add("--strangers", self.strangers);
        words.add("--strangers-rate", self.strangers_rate);
        words.add("--listen", self.listen);
        words.add("--limit", self.limit);
        words.maybe("--cpu", self.cpu.as_ref());
        words.0
    }
}

#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    fn add(&mut self, name: &str, value: impl ToString) {
        self.0.extend([name.to_owned(), value.to_string()]);
    }

    fn maybe(&mut self, name: &str, value: Option<&impl ToString>) {
        if let Some(value) = value {
            self.add(name, value.to_string());
        }
    }

    fn flag(&mut self, name: &str, is_set: bool) {
        if is_set {
            self.0.push(name.to_owned());
        }
    }
}

fn pair(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("NAME=PATH is wanted")?;
    Ok((name.to_owned(), path.into()))
}

/// An Ethernet address: `02:00:00:00:01:ff`.
///
/// # Errors
/// If the text is no such address.
pub fn mac(text: &str) -> Result<[u8; 6], String> {
    let bytes: Result<Vec<u8>, _> = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    let bytes = bytes.map_err(|error| error.to_string())?;
    bytes.try_into().map_err(|_| "six bytes are wanted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(options: &Options) -> Options {
        Options::parse_from(["load".to_owned()].into_iter().chain(options.arguments()))
    }

    #[test]
    fn a_command_line_gives_the_options_again() {
        let transfer = Options {
            server: Some(Ipv4Addr::new(10, 50, 0, 1)),
            server_mac: Some([2, 0x50, 0, 0, 0, 1]),
            file: Some("small".into()),
            original: Some("/root/small".into()),
            or: Some("/other".into()),
            ..Options::new("load0")
        };
        assert_eq!(again(&transfer), transfer);
        let boots = Options {
            machines: 7,
            blksize: 1024,
            windowsize: 4,
            boot: Some(Boot::Mix),
            files: vec![("a".into(), "/a".into()), ("b".into(), "/b".into())],
            misses: 11,
            pad: 1514,
            port: 2134,
            power_on: 5,
            loss: 1,
            duplicate: 2,
            reorder: 3,
            both_ways: true,
            seed: 4,
            again: 5,
            strangers: 6,
            strangers_rate: 7,
            listen: 8,
            limit: 9,
            cpu: Some(1),
            server: transfer.server,
            ..Options::new("load0")
        };
        assert_eq!(again(&boots), boots);
        let asks = Options { dhcp: Some(10), server: transfer.server, ..Options::new("load0") };
        assert_eq!(again(&asks), asks);
        let reflected =
            Options { reflect: Some(1514), seconds: 0.5, server: transfer.server, ..Options::new("load0") };
        assert_eq!(again(&reflected), reflected);
        let reflector = Options { reflector: true, mode: ReflectorMode::Generic, ..Options::new("lo") };
        assert_eq!(again(&reflector), reflector);
        let from = Some(Ipv4Addr::new(10, 51, 16, 0));
        let http = Options { http: Some("/a".into()), from, from_one: true, or: None, ..transfer.clone() };
        assert_eq!(again(&http), http);
        let foreign = Options { foreign: true, ..Options::new("lo") };
        assert_eq!(again(&foreign), foreign);
        let in_kernel = Options {
            in_kernel: true,
            compare: 1,
            loads: 20,
            stop_after: Some(2.5),
            or: None,
            ..transfer.clone()
        };
        assert_eq!(again(&in_kernel), in_kernel);
    }

    #[test]
    fn a_hardware_address_has_six_bytes() {
        assert_eq!(mac("02:00:00:00:01:ff"), Ok([2, 0, 0, 0, 1, 255]));
        assert!(mac("02:00").is_err() && mac("02:00:00:00:01:xx").is_err());
    }
}
