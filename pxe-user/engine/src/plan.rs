//! Chooses the datapath of an interface, and records why. The choice uses facts about the host only, before
//! anything is opened.

use std::net::Ipv4Addr;

use pxe_common::abi::{self, dhcp_mode};
use pxe_common::wire;

use pxe_nic::interface::{self, Interface, Subnet};
use pxe_nic::programs::Mode;
use pxe_nic::xsk::Sizes;
use pxe_proto::tftp::table::TidPorts;

/// The datapath that the administrator configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DatapathChoice {
    /// XDP where it works, otherwise plain sockets.
    #[default]
    Auto,
    /// XDP and AF_XDP. If they do not work, the start fails.
    Xdp,
    /// Plain UDP sockets.
    Socket,
}

/// The XDP mode that the administrator configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModeChoice {
    /// Native on network cards, generic on virtual interfaces.
    #[default]
    Auto,
    /// XDP in the driver. If it does not work, the start fails.
    Native,
    /// XDP in the network stack, without the driver's support.
    Generic,
}

/// Where the kernel may answer ACKs without the daemon, as the administrator configured it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffloadChoice {
    /// In all layers that XDP mode, driver and kernel support.
    #[default]
    Auto,
    /// In the XDP program only (Linux 5.18). Where frames cannot grow there, the daemon sends.
    Xdp,
    /// In the tcx program only (Linux 6.6).
    Tcx,
    /// Nowhere: every packet goes through the daemon.
    Off,
}

impl OffloadChoice {
    /// Returns the layers to try in this mode, as bits of [`abi::offload`]. `is_card` is true if the
    /// interface has a driver.
    pub fn layers(self, mode: Mode, is_card: bool) -> u32 {
        use abi::offload::{BY_REDIRECT, TCX, XDP};
        // In native mode, the peer of a veth drops frames that were sent by XDP_TX. A redirect reaches the
        // peer only if the peer batches receptions (GRO), which pxed cannot see from here. A network card may
        // not support redirects, but does not need them.
        let unsure = mode == Mode::Native && !is_card;
        match self {
            Self::Off => 0,
            Self::Tcx => TCX,
            Self::Auto if unsure => TCX,
            Self::Auto => XDP | TCX,
            Self::Xdp if unsure => XDP | BY_REDIRECT,
            Self::Xdp => XDP,
        }
    }
}

/// What the kernel program does with DHCP requests to our own address. Broadcasts are always copied and
/// passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DhcpPath {
    /// It redirects them to pxed: no other program on this host needs them.
    Redirect,
    /// It copies them to pxed and passes them on to the host, for this reason.
    Copy(CopyReason),
}

/// Why the kernel program also passes DHCP requests on to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyReason {
    /// A process of this host listens on port 67.
    ServerHere,
    /// The interface has a bridge, bond or the like on top: a guest or container may serve DHCP.
    UpperInterface,
}

impl DhcpPath {
    /// Decides by the present state of the host. The caller may decide again at any time.
    pub fn decide(interface: &Interface) -> Self {
        if !interface::udp_listeners(wire::PORT_DHCP_SERVER).is_empty() {
            Self::Copy(CopyReason::ServerHere)
        } else if !interface.uppers.is_empty() {
            Self::Copy(CopyReason::UpperInterface)
        } else {
            Self::Redirect
        }
    }

    /// The value for the kernel program, from [`dhcp_mode`].
    pub fn abi(self) -> u32 {
        match self {
            Self::Redirect => dhcp_mode::REDIRECT,
            Self::Copy(_) => dhcp_mode::COPY,
        }
    }

    /// A description for people.
    pub fn explain(self) -> &'static str {
        match self {
            Self::Redirect => "not passed on (no other program on this host uses UDP port 67)",
            Self::Copy(CopyReason::ServerHere) => {
                "copied and passed on (another server on this host uses UDP port 67)"
            }
            Self::Copy(CopyReason::UpperInterface) => {
                "copied and passed on (a bridge or the like is on top of this interface)"
            }
        }
    }
}

/// What pxed will do on one interface.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The facts about the interface.
    pub interface: Interface,
    /// Our address, from which machines load files, and its subnet.
    pub subnet: Subnet,
    /// XDP modes to try, best first. Empty for plain sockets.
    pub modes: Vec<Mode>,
    /// Why the modes are in this order, for people.
    pub why: String,
    /// Whether pxed may fall back to sockets if no XDP mode works.
    pub may_fall_back: bool,
    /// The range of our TIDs.
    pub tids: TidPorts,
    /// Sizes of the AF_XDP sockets.
    pub sizes: Sizes,
}

/// Most TIDs. The clients' own ports already tell transfers apart, so pxed needs few.
const TIDS_MAX: u16 = 4096;

impl Plan {
    /// Makes the plan for the interface `name`. Without an `address`, pxed serves from the interface's first
    /// address.
    ///
    /// # Errors
    /// [`interface::InterfaceError`] if the facts about the interface cannot be read, or if it has no such
    /// address.
    pub fn decide(
        name: &str,
        address: Option<Ipv4Addr>,
        datapath: DatapathChoice,
        mode: ModeChoice,
    ) -> Result<Self, interface::InterfaceError> {
        let interface = Interface::read(name)?;
        let subnet = interface.serving(address)?;
        let (modes, why) = modes(&interface, datapath, mode);
        let sizes = Sizes::for_interface(interface.mtu, interface.queues);
        Ok(Self {
            subnet,
            modes,
            why,
            may_fall_back: datapath == DatapathChoice::Auto,
            tids: tids(interface::ephemeral_ports()),
            sizes,
            interface,
        })
    }

    /// The size of the largest IP packet that pxed sends in one piece, in bytes: the interface's MTU, but
    /// with XDP no more than fits into an AF_XDP chunk.
    pub fn path_mtu(&self, xdp: bool) -> u16 {
        // The frame also has an Ethernet header (14 bytes) and up to two VLAN tags (4 bytes each).
        let chunk = self.sizes.largest_frame() - 22;
        let mtu = if xdp { self.interface.mtu.min(chunk) } else { self.interface.mtu };
        u16::try_from(mtu).unwrap_or(u16::MAX)
    }
}

fn modes(interface: &Interface, datapath: DatapathChoice, mode: ModeChoice) -> (Vec<Mode>, String) {
    if datapath == DatapathChoice::Socket {
        return (Vec::new(), "plain sockets, as configured".into());
    }
    match (mode, &interface.driver) {
        (ModeChoice::Native, _) => (vec![Mode::Native], "native XDP, as configured".into()),
        (ModeChoice::Generic, _) => (vec![Mode::Generic], "generic XDP, as configured".into()),
        (ModeChoice::Auto, Some(driver)) => (
            vec![Mode::Native, Mode::Generic],
            format!("native XDP first, since this is a network card ({driver})"),
        ),
        (ModeChoice::Auto, None) => {
            let why =
                "generic XDP, since this is a virtual interface: native XDP would halve the host's TCP here";
            (vec![Mode::Generic], why.into())
        }
    }
}

/// A range of ports that the kernel does not assign to other programs: above the ephemeral ports if there is
/// room, otherwise below them.
fn tids((first, last): (u16, u16)) -> TidPorts {
    const ROOM: u16 = 256;
    let above = u16::MAX - last;
    if above >= ROOM {
        return TidPorts { first: last + 1, count: above.min(TIDS_MAX) };
    }
    // Below the ephemeral ports, and above the system ports (RFC 6335, section 6).
    let below = first.saturating_sub(1024);
    if below >= ROOM {
        let count = below.min(TIDS_MAX);
        return TidPorts { first: first - count, count };
    }
    TidPorts { first: 1024, count: TIDS_MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tids_lie_outside_the_ephemeral_ports() {
        assert_eq!(tids((32768, 60999)), TidPorts { first: 61000, count: 4096 });
        assert_eq!(tids((1024, 65000)), TidPorts { first: 65001, count: 535 });
        assert_eq!(tids((32768, 65535)), TidPorts { first: 32768 - 4096, count: 4096 });
    }

    #[test]
    fn the_kernel_answers_in_xdp_only_where_that_is_sure_to_arrive() {
        use abi::offload::{BY_REDIRECT, TCX, XDP};
        let auto = OffloadChoice::Auto;
        assert_eq!(auto.layers(Mode::Native, true), XDP | TCX);
        assert_eq!(auto.layers(Mode::Generic, false), XDP | TCX);
        assert_eq!(auto.layers(Mode::Native, false), TCX);
        assert_eq!(OffloadChoice::Xdp.layers(Mode::Native, false), XDP | BY_REDIRECT);
        assert_eq!(OffloadChoice::Off.layers(Mode::Native, true), 0);
    }

    #[test]
    fn a_card_gets_native_xdp_first_and_a_veth_generic_only() {
        let card = |driver: Option<&str>| Interface {
            name: "x".into(),
            index: 1,
            mac: [0; 6],
            mtu: 1500,
            driver: driver.map(str::to_owned),
            queues: 1,
            uppers: Vec::new(),
            addresses: Vec::new(),
        };
        let decided = |driver, datapath, mode| modes(&card(driver), datapath, mode).0;
        let (auto, any) = (DatapathChoice::Auto, ModeChoice::Auto);
        assert_eq!(decided(Some("igb"), auto, any), [Mode::Native, Mode::Generic]);
        assert_eq!(decided(None, auto, any), [Mode::Generic]);
        assert_eq!(decided(None, auto, ModeChoice::Native), [Mode::Native]);
        assert_eq!(decided(Some("igb"), DatapathChoice::Socket, any), []);
    }
}
