//! What the options ask for.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use pxe_kit::load::{Boot, Options, ReflectorMode};
use pxe_load::manners::Kind;
use pxe_load::noise::Noise;
use pxe_load::programs::Program;
use pxe_load::script::{Crew, Dhcp, Script};
use pxe_load::strangers::Crowd;
use pxe_load::{fleet, http, http_boot, reflect};
use pxe_nic::programs::Mode;
use pxe_proto::mac::Mac;

/// The port of HTTP.
const HTTP: u16 = 80;

/// What to do.
pub(crate) enum Task {
    /// Machines load or ask.
    Fleet(Box<fleet::Plan>),
    /// Connections load a file over HTTP.
    Http(http::Plan),
    /// Machines boot over HTTP.
    HttpBoots(http_boot::Plan),
    /// Frames are sent to a reflector.
    Reflect(reflect::Plan),
    /// Frames are sent back.
    Reflector(u32, Program, Mode),
}

/// What the options ask for, and a word for it.
pub(crate) fn task(options: &Options) -> Result<(String, Task)> {
    let interface = index(&options.interface)?;
    if options.reflector {
        let (program, mode) = match options.mode {
            ReflectorMode::Native => (Program::Reflect, Mode::Native),
            ReflectorMode::Generic => (Program::Reflect, Mode::Generic),
            ReflectorMode::CopyTx => (Program::CopyTx, Mode::Native),
            ReflectorMode::CopyRedirect => (Program::CopyRedirect, Mode::Native),
            ReflectorMode::CopyTcx => (Program::CopyTcx, Mode::Native),
        };
        return Ok(("reflector".into(), Task::Reflector(interface, program, mode)));
    }
    let server = options.server.context("--server is missing")?;
    if let Some(path) = &options.http {
        let client = http::Client {
            server: SocketAddrV4::new(server, HTTP),
            path: path.clone(),
            file: read(options.original.as_ref().context("--original is missing")?)?,
            connections: options.machines,
            from: options.from.context("--from is missing")?,
            from_one: options.from_one,
        };
        if let Some(relay) = options.relay {
            let (power_on, limit) =
                (Duration::from_millis(options.power_on), Duration::from_secs(options.limit));
            let plan = http_boot::Plan { client, relay, power_on, limit };
            return Ok(("http".into(), Task::HttpBoots(plan)));
        }
        let plan = http::Plan { client, time: Duration::from_secs_f64(options.seconds) };
        return Ok(("http".into(), Task::Http(plan)));
    }
    let peer = Mac(options.server_mac.unwrap_or([0xff; 6]));
    if let Some(len) = options.reflect {
        let time = Duration::from_secs_f64(options.seconds);
        let plan = reflect::Plan { interface, server, peer, len, machines: options.machines, time };
        return Ok(("reflect".into(), Task::Reflect(plan)));
    }
    let (kind, script) = script(options, server)?;
    let plan = fleet::Plan {
        interface,
        machines: options.machines,
        power_on: Duration::from_millis(options.power_on),
        noise: noise(options),
        noise_back: if options.both_ways { noise(options) } else { Noise::default() },
        seed: options.seed,
        limit: Duration::from_secs(options.limit),
        peers: vec![peer],
        first: 0,
        pad: options.pad,
        script,
        crowd: Crowd {
            count: options.strangers,
            rate: options.strangers_rate,
            listen: Duration::from_secs(options.listen),
        },
        kernel: options.in_kernel.then_some(options.compare),
        stop_after: options.stop_after.map(Duration::from_secs_f64),
    };
    Ok((kind, Task::Fleet(Box::new(plan))))
}

fn noise(options: &Options) -> Noise {
    Noise { loss: options.loss, duplicate: options.duplicate, reorder: options.reorder }
}

fn script(options: &Options, server: Ipv4Addr) -> Result<(String, Script)> {
    let named = options.boot.and_then(|boot| Some(boot.to_possible_value()?.get_name().to_owned()));
    let crew = options.boot.map(self::crew);
    let (kind, dhcp, crew, files) = match (options.dhcp, crew, &options.file) {
        (Some(count), crew, _) => {
            let crew = crew.unwrap_or(Crew::All(Kind::Ipxe));
            (Some("dhcp".into()), Dhcp::Rate(count), crew, Vec::new())
        }
        (None, Some(crew), None) => (named, Dhcp::Boot, crew, options.files.clone()),
        (None, None, Some(file)) => {
            let original = options.original.clone().context("--original is missing")?;
            let files = vec![(file.clone(), original)];
            (Some("transfer".into()), Dhcp::Skip, Crew::All(Kind::Plain), files)
        }
        _ => bail!("either --file or --boot"),
    };
    if files.is_empty() && dhcp == Dhcp::Boot {
        bail!("--boot needs --files");
    }
    let misses = if dhcp == Dhcp::Boot { options.misses } else { 0 };
    let read = |(name, path): (String, PathBuf)| Ok((name, read(&path)?));
    let files = files.into_iter().map(read).collect::<Result<_>>()?;
    let mut script =
        Script::new(server, dhcp, crew, options.blksize, options.windowsize).loading(files, misses);
    script.loads = options.loads;
    script.port = options.port;
    script.again = options.again;
    if let Some(other) = &options.or {
        script.or(self::read(other)?);
    }
    Ok((kind.unwrap_or_default(), script))
}

fn crew(boot: Boot) -> Crew {
    match boot {
        Boot::Ipxe => Crew::All(Kind::Ipxe),
        Boot::Edk2 => Crew::All(Kind::Edk2),
        Boot::Pxelinux => Crew::All(Kind::Pxelinux),
        Boot::Grub => Crew::All(Kind::Grub),
        Boot::Mix => Crew::Mix,
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    const COMMON: [&str; 5] = ["load", "--interface", "lo", "--server", "10.50.0.1"];

    fn task(more: &[&str]) -> Result<(String, Task)> {
        super::task(&Options::try_parse_from(COMMON.iter().chain(more))?)
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
        assert_eq!(super::task(&reflector).unwrap().0, "reflector");
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
}
