//! Collects the facts of this host that its configuration depends on.

use std::path::{Path, PathBuf};

use super::holders::{self, Holder};
use pxe_content::boot::{Catalogue, Config, Links, Source, discover};
use pxe_nic::interface::{self, Interface};
use pxe_proto::dhcp::Programs;

/// Directories in which distributions and how-tos keep boot trees.
const TREES: [&str; 4] = ["/srv/tftp", "/var/lib/tftpboot", "/srv/tftpboot", "/tftpboot"];
/// The UDP ports that pxed serves: DHCP, TFTP and PXE's boot server.
const PORTS: [u16; 3] = [67, 69, 4011];
/// The path of dnsmasq's configuration.
const DNSMASQ: &str = "/etc/dnsmasq.conf";

/// An interface, and whether pxed would serve it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) name: String,
    /// IPv4 addresses with their prefix lengths, such as `10.0.0.5/24`.
    pub(super) addresses: Vec<String>,
    /// Why pxed would not serve the interface; `None` if it would.
    pub(super) reason: Option<String>,
}

/// A directory with boot files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) path: String,
    /// The boot program of each architecture, such as `x64 snponly.efi`.
    pub(super) programs: Vec<String>,
}

/// The facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// All interfaces except loopback, sorted by name.
    pub(super) interfaces: Vec<Seen>,
    /// The boot program of each architecture with the installed memtest86+; empty if none is installed.
    pub(super) memtest: Vec<String>,
    /// File names of installed boot loaders that can start kernels.
    pub(super) loaders: Vec<String>,
    pub(super) trees: Vec<Tree>,
    pub(super) holders: Vec<Holder>,
    /// The path of dnsmasq's configuration, if the file exists.
    pub(super) dnsmasq: Option<String>,
}

impl Facts {
    /// Reads the facts from sysfs, /proc and the file system.
    pub(super) fn gather() -> Self {
        let mut interfaces: Vec<(Seen, bool)> =
            interface::names().into_iter().filter(|name| name != "lo").map(|name| seen(&name)).collect();
        // Virtual interfaces are left out only if a real one is served: in a container, all are virtual.
        let is_served = |(seen, is_virtual): &(Seen, bool)| seen.reason.is_none() && !is_virtual;
        let has_real = interfaces.iter().any(is_served);
        for (seen, is_virtual) in &mut interfaces {
            if *is_virtual && seen.reason.is_none() && (has_real || is_bridge(&seen.name)) {
                seen.reason = Some("virtual: no network card is behind it".to_owned());
            }
        }
        let memtest = Catalogue::open(Config::default()).map(|catalogue| words(&catalogue.programs()));
        let is_there = |place: &&&str| Path::new("/").join(place).is_file();
        let pxelinux =
            discover::PXELINUX.iter().map(|(loader, _)| loader).find(is_there).map(|_| "pxelinux.0");
        let others =
            discover::LOADERS.iter().filter(|(_, part)| part.places.iter().any(|place| is_there(&place)));
        let loaders = pxelinux.into_iter().chain(others.map(|(_, part)| part.name)).map(str::to_owned);
        Self {
            interfaces: interfaces.into_iter().map(|(seen, _)| seen).collect(),
            memtest: memtest.unwrap_or_default(),
            loaders: loaders.collect(),
            trees: TREES.iter().filter_map(|path| tree(path)).collect(),
            holders: PORTS.iter().flat_map(|port| holders::of(*port)).collect(),
            dnsmasq: Path::new(DNSMASQ).is_file().then(|| DNSMASQ.to_owned()),
        }
    }
}

fn words(programs: &Programs) -> Vec<String> {
    programs.iter().map(|(arch, program)| format!("{arch} {}", program.file.as_str())).collect()
}

/// The tree in a directory; `None` if the directory is missing or empty.
fn tree(path: &str) -> Option<Tree> {
    std::fs::read_dir(path).ok()?.next()?.ok()?;
    let source = Source::Tree { root: PathBuf::from(path), links: Links::FollowAdministrators };
    let catalogue = Catalogue::open(Config { source, ..Config::default() });
    let programs = catalogue.map(|catalogue| words(&catalogue.programs())).unwrap_or_default();
    Some(Tree { path: path.to_owned(), programs })
}

/// An interface, and whether it is virtual: without a network card behind it.
fn seen(name: &str) -> (Seen, bool) {
    let sys = Path::new("/sys/class/net").join(name);
    let (addresses, reason) = match Interface::read(name) {
        Ok(interface) => {
            let addresses: Vec<String> = interface
                .addresses
                .iter()
                .map(|subnet| format!("{}/{}", subnet.address, subnet.mask.to_bits().count_ones()))
                .collect();
            let has_carrier =
                std::fs::read_to_string(sys.join("carrier")).is_ok_and(|text| text.trim() == "1");
            let reason = match interface.serving(None) {
                Err(_) if sys.join("master").exists() => {
                    Some("no IPv4 address: it is part of another interface, which may have one".to_owned())
                }
                Err(error) => Some(without_name(&error.to_string(), name)),
                Ok(_) if !has_carrier => Some("no carrier: no cable or no partner".to_owned()),
                Ok(_) => None,
            };
            (addresses, reason)
        }
        Err(error) => (Vec::new(), Some(without_name(&error.to_string(), name))),
    };
    (Seen { name: name.to_owned(), addresses, reason }, !has_card(&sys, 0))
}

/// Shortens an error message to a reason that can follow the interface's name.
fn without_name(text: &str, name: &str) -> String {
    let begin = format!("interface {name} ");
    let text = text.strip_prefix(&begin).unwrap_or(text);
    text.strip_prefix("is ").or_else(|| text.strip_prefix("has ")).unwrap_or(text).to_owned()
}

/// Whether a device is behind an interface, or behind one of the interfaces that it consists of. So a bridge, bond or
/// VLAN on a network card has a card; interfaces that only connect virtual machines or containers have none.
fn has_card(sys: &Path, depth: u32) -> bool {
    if sys.join("device").exists() {
        return true;
    }
    let Ok(entries) = std::fs::read_dir(sys) else { return false };
    let mut lowers = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("lower_"));
    depth < 8 && lowers.any(|lower| has_card(&lower.path(), depth + 1))
}

fn is_bridge(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).join("bridge").exists()
}
