//! The command line.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use pxe_load::manners::Kind;
use pxe_load::noise::Noise;
use pxe_load::script::{Crew, Dhcp, PORT, Script};
use pxe_load::strangers::{Crowd, MOST};
use pxe_load::{fleet, reflect};
use pxe_nic::programs::Mode;
use pxe_proto::mac::Mac;

/// Plays many machines that boot at once.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Interface towards the server
    #[arg(long)]
    interface: String,
    /// The server's address
    #[arg(long, required_unless_present = "reflector")]
    server: Option<Ipv4Addr>,
    /// Where frames for the server are sent (default: to everybody, which asks no one)
    #[arg(long, value_parser = mac)]
    server_mac: Option<Mac>,
    /// How many machines
    #[arg(long, default_value_t = 128)]
    machines: u32,
    /// The file as the server names it
    #[arg(long, required_unless_present_any = ["reflector", "reflect", "boot", "dhcp"], requires = "original")]
    file: Option<String>,
    /// The same file here, to compare every byte
    #[arg(long)]
    original: Option<PathBuf>,
    /// Bytes per block
    #[arg(long, default_value_t = 1468)]
    blksize: u16,
    /// Blocks per window
    #[arg(long, default_value_t = 1)]
    windowsize: u16,
    /// Whole boots instead of one transfer; with --dhcp: whose DISCOVERs
    #[arg(long)]
    boot: Option<Boot>,
    /// What a machine loads in a boot: the boot file, then others
    #[arg(long, value_name = "NAME=PATH", value_delimiter = ',', value_parser = pair)]
    files: Vec<(String, PathBuf)>,
    /// Look-ups of files that do not exist, before the last file
    #[arg(long, default_value_t = 0)]
    misses: u16,
    /// DISCOVERs that each machine sends, one after the other, and nothing else
    #[arg(long, value_name = "COUNT")]
    dhcp: Option<u32>,
    /// Frames of so many bytes against a reflector, as many as machines at a time
    #[arg(long, value_name = "LEN")]
    reflect: Option<usize>,
    /// How long to do that
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Be the reflector on that interface, until standard input ends
    #[arg(long)]
    reflector: bool,
    /// Where the reflecting program runs
    #[arg(long, default_value = "native")]
    mode: ReflectorMode,
    /// Least length of TFTP frames; zeros follow the datagram
    #[arg(long, value_name = "LEN", default_value_t = 0)]
    pad: usize,
    /// First port of each machine: servers may know the ports of machines that were there a moment ago
    #[arg(long, default_value_t = PORT, value_parser = clap::value_parser!(u16).range(1024..60_000))]
    port: u16,
    /// Milliseconds over which the machines are switched on
    #[arg(long, default_value_t = 0)]
    power_on: u64,
    /// Frames lost on the way to the machines, per mille
    #[arg(long, default_value_t = 0)]
    loss: u32,
    /// Frames that come twice there, per mille
    #[arg(long, default_value_t = 0)]
    duplicate: u32,
    /// Frames that others overtake there, per mille
    #[arg(long, default_value_t = 0)]
    reorder: u32,
    /// The same happens to what machines send
    #[arg(long)]
    both_ways: bool,
    /// To which frames
    #[arg(long, default_value_t = 0x9e37_79b9)]
    seed: u32,
    /// How often a machine that gave up is switched on again
    #[arg(long, default_value_t = 0)]
    again: u8,
    /// Another version of the file, which is as right as the original
    #[arg(long, value_name = "PATH")]
    or: Option<PathBuf>,
    /// Requests for the file in the names of machines that do not exist
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=i64::from(MOST)))]
    strangers: u32,
    /// How many of them a second
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    strangers_rate: u32,
    /// How long what they would get is counted after the last one, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    listen: u64,
    /// The longest that the run may take, in seconds
    #[arg(long, default_value_t = 60)]
    limit: u64,
    /// Processor to stay on
    #[arg(long)]
    pub(crate) cpu: Option<usize>,
}

/// Who boots.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Boot {
    Ipxe,
    Edk2,
    Pxelinux,
    Grub,
    /// All four in turn
    Mix,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ReflectorMode {
    Native,
    Generic,
}

/// What to do.
pub(crate) enum Task {
    /// Machines load or ask.
    Fleet(Box<fleet::Plan>),
    /// Frames are sent to a reflector.
    Reflect(reflect::Plan),
    /// Frames are sent back.
    Reflector(u32, Mode),
}

impl Options {
    /// What the command line asks for, and a word for it.
    pub(crate) fn task(self) -> Result<(String, Task)> {
        let interface = index(&self.interface)?;
        if self.reflector {
            let mode = match self.mode {
                ReflectorMode::Native => Mode::Native,
                ReflectorMode::Generic => Mode::Generic,
            };
            return Ok(("reflector".into(), Task::Reflector(interface, mode)));
        }
        let server = self.server.context("--server is missing")?;
        let peer = self.server_mac.unwrap_or(Mac([0xff; 6]));
        if let Some(len) = self.reflect {
            let time = Duration::from_secs_f64(self.seconds);
            let plan = reflect::Plan { interface, server, peer, len, machines: self.machines, time };
            return Ok(("reflect".into(), Task::Reflect(plan)));
        }
        let (kind, script) = self.script(server)?;
        let plan = fleet::Plan {
            interface,
            machines: self.machines,
            power_on: Duration::from_millis(self.power_on),
            noise: self.noise(),
            noise_back: if self.both_ways { self.noise() } else { Noise::default() },
            seed: self.seed,
            limit: Duration::from_secs(self.limit),
            peer,
            pad: self.pad,
            script,
            crowd: Crowd {
                count: self.strangers,
                rate: self.strangers_rate,
                listen: Duration::from_secs(self.listen),
            },
        };
        Ok((kind, Task::Fleet(Box::new(plan))))
    }

    fn noise(&self) -> Noise {
        Noise { loss: self.loss, duplicate: self.duplicate, reorder: self.reorder }
    }

    fn script(&self, server: Ipv4Addr) -> Result<(String, Script)> {
        let named = self.boot.and_then(|boot| Some(boot.to_possible_value()?.get_name().to_owned()));
        let crew = self.boot.map(Boot::crew);
        let (kind, dhcp, crew, files) = match (self.dhcp, crew, &self.file) {
            (Some(count), crew, _) => {
                let crew = crew.unwrap_or(Crew::All(Kind::Ipxe));
                (Some("dhcp".into()), Dhcp::Rate(count), crew, Vec::new())
            }
            (None, Some(crew), None) => (named, Dhcp::Boot, crew, self.files.clone()),
            (None, None, Some(file)) => {
                let original = self.original.clone().context("--original is missing")?;
                let files = vec![(file.clone(), original)];
                (Some("transfer".into()), Dhcp::Skip, Crew::All(Kind::Plain), files)
            }
            _ => bail!("either --file or --boot"),
        };
        if files.is_empty() && dhcp == Dhcp::Boot {
            bail!("--boot needs --files");
        }
        let misses = if dhcp == Dhcp::Boot { self.misses } else { 0 };
        let read = |(name, path): (String, PathBuf)| Ok((name, read(&path)?));
        let files = files.into_iter().map(read).collect::<Result<_>>()?;
        let mut script =
            Script::new(server, dhcp, crew, self.blksize, self.windowsize).loading(files, misses);
        script.port = self.port;
        script.again = self.again;
        if let Some(other) = &self.or {
            script.or(self::read(other)?);
        }
        Ok((kind.unwrap_or_default(), script))
    }
}

impl Boot {
    fn crew(self) -> Crew {
        match self {
            Self::Ipxe => Crew::All(Kind::Ipxe),
            Self::Edk2 => Crew::All(Kind::Edk2),
            Self::Pxelinux => Crew::All(Kind::Pxelinux),
            Self::Grub => Crew::All(Kind::Grub),
            Self::Mix => Crew::Mix,
        }
    }
}

/// An interface's index.
fn index(interface: &str) -> Result<u32> {
    let index = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))
        .with_context(|| format!("no interface {interface}"))?;
    Ok(index.trim().parse()?)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

fn pair(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("NAME=PATH is wanted")?;
    Ok((name.to_owned(), path.into()))
}

fn mac(text: &str) -> Result<Mac, String> {
    let bytes: Result<Vec<u8>, _> = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    let bytes = bytes.map_err(|error| error.to_string())?;
    bytes.try_into().map(Mac).map_err(|_| "six bytes are wanted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMON: [&str; 5] = ["load", "--interface", "lo", "--server", "10.50.0.1"];

    fn task(more: &[&str]) -> Result<(String, Task)> {
        Options::try_parse_from(COMMON.iter().chain(more))?.task()
    }

    #[test]
    fn each_mode_is_told_from_the_others() {
        let word = |more: &[&str]| task(more).map(|(word, _)| word).unwrap_or_default();
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let file = format!("small={here},large={here}");
        assert_eq!(word(&["--file", "small", "--original", here]), "transfer");
        assert_eq!(word(&["--boot", "edk2", "--files", &file]), "edk2");
        assert_eq!(word(&["--boot", "mix", "--files", &file, "--misses", "11"]), "mix");
        assert_eq!(word(&["--dhcp", "10"]), "dhcp");
        assert_eq!(word(&["--dhcp", "10", "--boot", "mix"]), "dhcp");
        assert_eq!(word(&["--reflect", "1514", "--seconds", "0.5"]), "reflect");
        let reflector = Options::try_parse_from(["load", "--reflector", "--interface", "lo"]).unwrap();
        assert_eq!(reflector.task().unwrap().0, "reflector");
        for incomplete in
            [&["--boot", "edk2"][..], &[], &["--file", "small"], &["--boot", "x"], &["--files", "a"]]
        {
            assert!(task(incomplete).is_err(), "{incomplete:?}");
        }
    }

    #[test]
    fn all_files_of_a_boot_and_all_look_ups_are_in_its_script() {
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let files = format!("small={here},large={here}");
        let Ok((_, Task::Fleet(plan))) = task(&["--boot", "mix", "--files", &files, "--misses", "3"]) else {
            panic!("a boot is played by a fleet");
        };
        assert_eq!((plan.script.items.len(), plan.script.boot_file()), (5, "small"));
    }

    #[test]
    fn a_hardware_address_has_six_bytes() {
        assert_eq!(mac("02:00:00:00:01:ff"), Ok(Mac([2, 0, 0, 0, 1, 255])));
        assert!(mac("02:00").is_err() && mac("02:00:00:00:01:xx").is_err());
    }
}
