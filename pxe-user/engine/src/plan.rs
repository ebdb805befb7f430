//! Which datapath on which interface, and why: decided from what the host says, before anything is opened.

use std::net::Ipv4Addr;

use pxe_common::abi::{self, dhcp_mode};
use pxe_common::wire;

use pxe_nic::interface::{self, Interface, Subnet};
use pxe_nic::programs::Mode;
use pxe_nic::xsk::Sizes;
use pxe_proto::tftp::table::TidPorts;

/// The datapath that was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DatapathChoice {
    /// XDP where it works, else sockets.
    #[default]
    Auto,
    /// XDP and AF_XDP, or an error.
    Xdp,
    /// Plain UDP sockets.
    Socket,
}

/// The XDP mode that was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModeChoice {
    /// Native on network cards, generic on virtual interfaces.
    #[default]
    Auto,
    /// In the driver, or an error.
    Native,
    /// In the network stack.
    Generic,
}

/// Whether the kernel may answer ACKs by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffloadChoice {
    /// As far as XDP, the driver and the kernel allow it.
    #[default]
    Auto,
    /// In the XDP program only (Linux 5.18): where frames cannot grow there, the daemon sends.
    Xdp,
    /// In the tcx program only (Linux 6.6).
    Tcx,
    /// Every packet goes through the daemon.
    Off,
}

impl OffloadChoice {
    /// The layers that may be tried in this mode, by the interface's driver: bits of [`abi::offload`].
    pub fn layers(self, mode: Mode, is_card: bool) -> u32 {
        use abi::offload::{BY_REDIRECT, TCX, XDP};
        // What a veth sends by XDP_TX its peer does not take, and a redirect reaches it only if it batches receptions
        // (GRO), which nobody here can see. A card may lack redirects, and needs none.
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

/// What becomes of DHCP requests to our address on their way through the kernel. Broadcasts are always copied and passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DhcpPath {
    /// Redirected: nobody else here needs them.
    Redirect,
    /// Copied and passed on, for this reason.
    Copy(CopyReason),
}

/// Why DHCP requests are passed on as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyReason {
    /// A process of this host listens on port 67.
    ServerHere,
    /// A bridge, bond or the like is on top of the interface: a guest or container may serve DHCP.
    UpperInterface,
}

impl DhcpPath {
    /// Looks at the host: may be asked again at any time.
    pub fn decide(interface: &Interface) -> Self {
        if !interface::udp_listeners(wire::PORT_DHCP_SERVER).is_empty() {
            Self::Copy(CopyReason::ServerHere)
        } else if !interface.uppers.is_empty() {
            Self::Copy(CopyReason::UpperInterface)
        } else {
            Self::Redirect
        }
    }

    /// The number that the kernel program knows it by.
    pub fn abi(self) -> u32 {
        match self {
            Self::Redirect => dhcp_mode::REDIRECT,
            Self::Copy(_) => dhcp_mode::COPY,
        }
    }

    /// For people.
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

/// What will be done on one interface.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The interface.
    pub interface: Interface,
    /// The address that machines are told.
    pub subnet: Subnet,
    /// XDP modes to try, best first; none for plain sockets.
    pub modes: Vec<Mode>,
    /// Why this order.
    pub why: String,
    /// Whether sockets may take the place of XDP.
    pub may_fall_back: bool,
    /// Our TIDs.
    pub tids: TidPorts,
    /// Sizes of the AF_XDP sockets.
    pub sizes: Sizes,
}

/// Most TIDs: the clients' own ports tell transfers apart, so these need not be many.
const TIDS_MAX: u16 = 4096;

impl Plan {
    /// Decides for the interface `name`.
    ///
    /// # Errors
    /// [`interface::InterfaceError`].
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

    /// The largest IP packet that goes out in one piece, in bytes: the interface's MTU, or what an AF_XDP chunk holds.
    pub fn path_mtu(&self, xdp: bool) -> u16 {
        // Ethernet header and two tags come on top.
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

/// A range of ports that the kernel gives to nobody: above the ephemeral ones if there is room, else below.
fn tids((first, last): (u16, u16)) -> TidPorts {
    const ROOM: u16 = 256;
    let above = u16::MAX - last;
    if above >= ROOM {
        return TidPorts { first: last + 1, count: above.min(TIDS_MAX) };
    }
    // Below the ephemeral ports, and above the system's (RFC 6335, section 6).
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
