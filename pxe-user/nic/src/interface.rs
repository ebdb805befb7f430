//! Facts about a network interface, from sysfs, procfs and `getifaddrs`. The daemon reads them at the start,
//! and again from time to time.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::ethernet::{self, EthernetAddress};

/// Why an interface cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// This host has no interface with this name.
    #[error("there is no interface `{name}` here; this host has: {present}")]
    Unknown {
        /// The requested name.
        name: String,
        /// The names of the existing interfaces.
        present: String,
    },
    /// /sys shows another network namespace than that of this process.
    #[error(
        "/sys belongs to another network namespace than {0}: enter it by `ip netns exec NAME pxed ...`, which brings its own"
    )]
    ForeignSys(String),
    /// The interface has no IPv4 address from which machines could load files.
    #[error(
        "interface {0} has no IPv4 address: give it one in the machines' network (ip addr add A.B.C.D/NN dev {0})"
    )]
    NoAddress(String),
    /// `--address` names an address that the interface does not have.
    #[error("interface {name} does not have the address {address}; it has: {present}")]
    ForeignAddress {
        /// Name of the interface.
        name: String,
        /// The requested address.
        address: Ipv4Addr,
        /// The interface's addresses.
        present: String,
    },
    /// The interface is not Ethernet (loopback, tunnels, InfiniBand).
    #[error("interface {0} is not Ethernet: machines cannot boot over it")]
    NotEthernet(String),
    /// The interface is down.
    #[error("interface {0} is down: ip link set {0} up")]
    Down(String),
    /// sysfs or the list of addresses could not be read.
    #[error("cannot read {what}: {source}")]
    Read {
        /// The file or list that could not be read.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
}

/// An IPv4 address with its subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The address.
    pub address: Ipv4Addr,
    /// The subnet's mask.
    pub mask: Ipv4Addr,
}

impl Subnet {
    /// Returns the broadcast address, in which all host bits are set; for a /31 or /32, the limited broadcast
    /// address.
    pub fn broadcast(self) -> Ipv4Addr {
        let host = !self.mask.to_bits();
        if host <= 1 { Ipv4Addr::BROADCAST } else { Ipv4Addr::from_bits(self.address.to_bits() | host) }
    }
}

/// A network interface, as it was when [`Interface::read`] was called.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name, by which [`Interface::read`] found it.
    pub name: String,
    /// Its index in this network namespace.
    pub index: u32,
    /// Its Ethernet address.
    pub mac: EthernetAddress,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Name of its driver. `None` if there is no device behind the interface (veth, bridge and the like).
    pub driver: Option<String>,
    /// Number of receive queues in use, at least 1.
    pub queues: u32,
    /// Names of the interfaces on top of it (bridge, bond, macvlan ...), without VLAN interfaces.
    pub uppers: Vec<String>,
    /// Its IPv4 addresses, in the kernel's order.
    pub addresses: Vec<Subnet>,
}

impl Interface {
    /// Reads the facts about the interface `name`.
    ///
    /// # Errors
    /// [`InterfaceError`] if the interface does not exist, is down, or is not Ethernet, or if its facts
    /// cannot be read.
    pub fn read(name: &str) -> Result<Self, InterfaceError> {
        let sys = PathBuf::from("/sys/class/net").join(name);
        let known = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        if !known || !sys.exists() {
            if addresses(name).is_ok_and(|addresses| !addresses.is_empty()) {
                return Err(InterfaceError::ForeignSys(name.into()));
            }
            return Err(InterfaceError::Unknown { name: name.into(), present: present() });
        }
        // ARPHRD_ETHER, from linux/if_arp.h.
        if read(&sys, "type")? != "1" {
            return Err(InterfaceError::NotEthernet(name.into()));
        }
        // IFF_UP, from linux/if.h.
        if flags(&read(&sys, "flags")?).is_none_or(|flags| flags & 1 == 0) {
            return Err(InterfaceError::Down(name.into()));
        }
        Ok(Self {
            name: name.into(),
            index: number(&sys, "ifindex")?,
            mac: mac(&sys)?,
            mtu: number(&sys, "mtu")?,
            driver: link_name(&sys.join("device/driver")),
            queues: entries(&sys.join("queues"), "rx-").len().max(1) as u32,
            uppers: entries(&sys, "upper_").into_iter().filter(|upper| !is_vlan(upper)).collect(),
            addresses: addresses(name)?,
        })
    }

    /// Returns the address to serve from: `wanted`, or the interface's first address.
    ///
    /// # Errors
    /// [`InterfaceError::NoAddress`], [`InterfaceError::ForeignAddress`].
    pub fn serving(&self, wanted: Option<Ipv4Addr>) -> Result<Subnet, InterfaceError> {
        let first = self.addresses.first().copied();
        let Some(wanted) = wanted else {
            return first.ok_or_else(|| InterfaceError::NoAddress(self.name.clone()));
        };
        self.addresses.iter().copied().find(|subnet| subnet.address == wanted).ok_or_else(|| {
            let present: Vec<_> = self.addresses.iter().map(|subnet| subnet.address.to_string()).collect();
            InterfaceError::ForeignAddress {
                name: self.name.clone(),
                address: wanted,
                present: present.join(", "),
            }
        })
    }
}

/// Returns whether frames can leave this interface: it is up and has a carrier. `None` if there is no such interface, or the
/// system does not say.
pub fn has_link(name: &str) -> Option<bool> {
    match std::fs::read_to_string(Path::new("/sys/class/net").join(name).join("carrier")) {
        Ok(text) => Some(text.trim() == "1"),
        // An interface that is down has no carrier to read.
        Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => Some(false),
        Err(_) => None,
    }
}

/// Returns the current name of the interface with this index; `None` if it no longer exists.
pub fn name_of(index: u32) -> Option<String> {
    let sys = Path::new("/sys/class/net");
    entries(sys, "").into_iter().find(|name| number(&sys.join(name), "ifindex").is_ok_and(|n| n == index))
}

/// Returns the names of the interfaces in this network namespace, sorted.
pub fn names() -> Vec<String> {
    let mut names = entries(Path::new("/sys/class/net"), "");
    names.retain(|name| name != "bonding_masters");
    names
}

fn present() -> String {
    let mut names = names();
    names.retain(|name| name != "lo");
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

fn read(sys: &Path, file: &str) -> Result<String, InterfaceError> {
    let path = sys.join(file);
    std::fs::read_to_string(&path)
        .map(|text| text.trim().to_owned())
        .map_err(|source| InterfaceError::Read { what: path.display().to_string(), source })
}

fn number(sys: &Path, file: &str) -> Result<u32, InterfaceError> {
    let text = read(sys, file)?;
    text.parse().map_err(|_| InterfaceError::Read {
        what: sys.join(file).display().to_string(),
        source: std::io::Error::other(format!("`{text}` is no number")),
    })
}

fn flags(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn mac(sys: &Path) -> Result<EthernetAddress, InterfaceError> {
    let text = read(sys, "address")?;
    ethernet::parse(&text).ok_or_else(|| InterfaceError::Read {
        what: sys.join("address").display().to_string(),
        source: std::io::Error::other(format!("`{text}` is no Ethernet address")),
    })
}

/// Returns the names in a folder that start with `prefix`, without the prefix, sorted.
fn entries(folder: &Path, prefix: &str) -> Vec<String> {
    let Ok(list) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = list.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter_map(|name| name.strip_prefix(prefix).map(str::to_owned)).collect();
    names.sort();
    names
}

fn link_name(link: &Path) -> Option<String> {
    std::fs::read_link(link).ok()?.file_name()?.to_str().map(str::to_owned)
}

/// Whether this is a VLAN interface. Such an interface takes only frames with its own tag from its parent, so
/// no other receiver misses a frame.
fn is_vlan(name: &str) -> bool {
    Path::new("/proc/net/vlan").join(name).exists()
}

fn addresses(name: &str) -> Result<Vec<Subnet>, InterfaceError> {
    let failed = |error: nix::errno::Errno| InterfaceError::Read {
        what: "the list of addresses".into(),
        source: error.into(),
    };
    let list = nix::ifaddrs::getifaddrs().map_err(failed)?;
    Ok(list
        .filter(|entry| entry.interface_name == name)
        .filter_map(|entry| {
            let address = entry.address?.as_sockaddr_in()?.ip();
            let mask = entry.netmask.and_then(|mask| Some(mask.as_sockaddr_in()?.ip()));
            Some(Subnet { address, mask: mask.unwrap_or(Ipv4Addr::BROADCAST) })
        })
        .collect())
}

/// Returns the addresses on which processes of this network namespace have UDP sockets on `port`.
///
/// DHCP servers that read raw packets (ISC, Kea) also hold such a socket.
pub fn udp_listeners(port: u16) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    for file in ["/proc/net/udp", "/proc/net/udp6"] {
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        found.extend(text.lines().skip(1).filter_map(|line| listener(line, port)));
    }
    found
}

/// Returns the local address in a line of /proc/net/udp or udp6 whose local port is `port`. An IPv6 wildcard
/// counts as 0.0.0.0.
fn listener(line: &str, port: u16) -> Option<Ipv4Addr> {
    let (address, local_port) = line.split_whitespace().nth(1)?.split_once(':')?;
    if u16::from_str_radix(local_port, 16).ok()? != port {
        return None;
    }
    if address.len() == 8 {
        // The kernel prints the 32 bits as a number in this machine's byte order.
        let bits = u32::from_str_radix(address, 16).ok()?;
        return Some(Ipv4Addr::from(bits.to_ne_bytes()));
    }
    address.bytes().all(|byte| byte == b'0').then_some(Ipv4Addr::UNSPECIFIED)
}

/// Returns the range of ports that the kernel gives to sockets without a port of their own, as (first, last).
pub fn ephemeral_ports() -> (u16, u16) {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(first), Some(last)) => (first, last),
        // This is the kernel's default since 2.4.
        _ => (32768, 60999),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_by_its_port_and_its_address_read_in_host_order() {
        let bits = u32::from_ne_bytes([10, 99, 0, 2]);
        let line = format!(
            "  1: {bits:08X}:0043 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1 2 0 0"
        );
        assert_eq!(listener(&line, 67), Some(Ipv4Addr::new(10, 99, 0, 2)));
        assert_eq!(listener(&line, 69), None);
        let line6 = "  2: 00000000000000000000000000000000:0043 0:0 07";
        assert_eq!(listener(line6, 67), Some(Ipv4Addr::UNSPECIFIED));
    }

    #[test]
    fn broadcast_has_all_host_bits_set() {
        let subnet = |mask| Subnet { address: Ipv4Addr::new(192, 168, 178, 20), mask };
        assert_eq!(subnet(Ipv4Addr::new(255, 255, 255, 0)).broadcast(), Ipv4Addr::new(192, 168, 178, 255));
        assert_eq!(subnet(Ipv4Addr::new(255, 255, 240, 0)).broadcast(), Ipv4Addr::new(192, 168, 191, 255));
        assert_eq!(subnet(Ipv4Addr::BROADCAST).broadcast(), Ipv4Addr::BROADCAST);
    }

    #[test]
    fn an_unknown_interface_is_named_with_those_there_are() {
        let error = Interface::read("nosuch0").map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("nosuch0"), "{error}");
        assert!(Interface::read("../net/lo").is_err());
    }
}
