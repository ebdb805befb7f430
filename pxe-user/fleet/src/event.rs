//! [`Event`]: what a worker or the HTTP server reports about a machine. A boot causes a handful of events. No
//! event is sent for a single packet.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayString;
use serde::{Deserialize, Serialize};

use pxe_content::boot::{FileName, Image, Refusal};
use pxe_proto::dhcp::{Arch, Style, Uuid};
use pxe_proto::mac::Mac;
use pxe_proto::tftp::send_session::TransferOutcome;

/// A short text of at most 128 bytes, without heap memory, because workers fill it.
pub type Brief = ArrayString<128>;

/// Copies a text, cut at a character's end to what a [`Brief`] holds.
pub fn brief(text: &str) -> Brief {
    let mut brief = Brief::new();
    for character in text.chars() {
        if brief.try_push(character).is_err() {
            break;
        }
    }
    brief
}

/// The kind of program that sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Client {
    /// PXE firmware, or the option ROM of a network card.
    Pxe,
    /// iPXE.
    Ipxe,
    /// UEFI HTTP boot.
    Http,
}

impl Client {
    /// The name in logs and in steps.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pxe => "PXE",
            Self::Ipxe => "iPXE",
            Self::Http => "HTTP boot",
        }
    }
}

/// What pxed's offer makes the machine do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferKind {
    /// Load a file, or a URL.
    Boot,
    /// Choose from a menu.
    Menu,
    /// Boot from its own disk.
    Local,
}

/// Why pxed sends no offer to a machine whose request it could answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// No boot program exists for the machine's architecture.
    NoImage,
    /// A rule ignores the machine, or no rule matches it.
    Rule,
}

/// The protocol of a file transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TFTP, over either datapath: XDP or plain sockets.
    Tftp,
    /// HTTP.
    Http,
}

/// How a request reached pxed, as far as its frame shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Directly from the machine over the link: the frame's source is the machine's own address. A plain
    /// socket hides the frame's source. Then the request was a broadcast, which no router forwards, or the
    /// kernel's neighbour table knows the sender.
    Link,
    /// Through another device: a relay, a router, or a bridge that rewrites addresses. The value is the
    /// frame's source, if it is known.
    Through(Option<Mac>),
}

/// A machine, as its DHCP request shows it, and what the rules decided for it.
#[derive(Clone, Debug)]
pub struct Requester {
    /// The machine's Ethernet address (`chaddr`).
    pub mac: Mac,
    /// How the request reached pxed.
    pub origin: Origin,
    /// The architecture (option 93).
    pub arch: Arch,
    /// The kind of program that sent the request.
    pub client: Client,
    /// What that program calls itself: the vendor class (option 60).
    pub firmware: Brief,
    /// The machine's UUID (option 97), if the request has one.
    pub uuid: Option<Uuid>,
    /// The machine's IPv4 address, if it has one already.
    pub address: Option<Ipv4Addr>,
    /// The relay that forwarded the request (`giaddr`). `None` without a relay.
    pub relay: Option<Ipv4Addr>,
    /// The VLAN of the machine's frames. `None` if they are untagged.
    pub vlan: Option<u16>,
    /// The interface on which pxed received the request.
    pub interface: Arc<str>,
    /// The rule that matched. `None` if no rule matched, or if there are no rules.
    pub rule: Option<Arc<str>>,
    /// The image that the rule names.
    pub image: Option<Arc<str>>,
}

impl Requester {
    /// A PXE firmware on the link of which only address and architecture are known.
    pub fn new(mac: Mac, arch: Arch) -> Self {
        Self {
            mac,
            origin: Origin::Link,
            arch,
            client: Client::Pxe,
            firmware: Brief::new(),
            uuid: None,
            address: None,
            relay: None,
            vlan: None,
            interface: "".into(),
            rule: None,
            image: None,
        }
    }

    /// An error sentence for [`Unanswered::NoImage`], with the remedy.
    pub fn no_image(&self) -> String {
        let arch = self.arch;
        match &self.image {
            Some(image) => format!(
                "image {image} has no boot program for {arch}: install a boot loader for it (package ipxe, or pxelinux for BIOS), or \
                 name one in the image's `boot_files`"
            ),
            None => {
                format!("no boot program for {arch}: name one with --boot-file {arch}=NAME, or `boot_files`")
            }
        }
    }
}

/// A client of a file, as far as its packets show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The client's IPv4 address and port.
    pub address: SocketAddrV4,
    /// The source address of the client's frames: its own, or its router's. All zero where a plain socket
    /// hides it.
    pub mac: Mac,
    /// The protocol of the transfer.
    pub transport: Transport,
}

impl Peer {
    /// Returns the Ethernet address of the client or its router: the source of its frames, or, where a socket
    /// hides that, the one that `neighbour` finds for the client's IP address.
    pub fn link(&self, neighbour: impl Fn(Ipv4Addr) -> Option<Mac>) -> Option<Mac> {
        let is_known = |mac: &Mac| *mac != Mac::default();
        Some(self.mac).filter(is_known).or_else(|| neighbour(*self.address.ip()).filter(is_known))
    }
}

impl Event {
    /// The client of the file that this event is about. `None` for events of DHCP.
    pub fn peer(&self) -> Option<&Peer> {
        match self {
            Self::Loading { peer, .. } | Self::Fetched { peer, .. } | Self::Refused { peer, .. } => {
                Some(peer)
            }
            Self::Offered { .. }
            | Self::Unanswered { .. }
            | Self::Leased { .. }
            | Self::StyleLearnt { .. } => None,
        }
    }
}

/// Something that a machine did, or that pxed answered.
#[derive(Clone, Debug)]
pub enum Event {
    /// pxed sent an offer to a machine.
    Offered {
        /// The machine.
        requester: Box<Requester>,
        /// What the offer makes the machine do.
        what: OfferKind,
        /// The name of the offered file, or the URL.
        file: Brief,
        /// The offer's style.
        style: Style,
        /// True for an ACK of the boot server, false for an OFFER.
        ack: bool,
    },
    /// pxed sent no offer to a machine, although it could have answered.
    Unanswered {
        /// The machine.
        requester: Box<Requester>,
        /// The reason.
        why: Unanswered,
    },
    /// A machine accepts a lease from the DHCP server. It broadcasts this to all servers, so pxed receives
    /// it, too.
    Leased {
        /// The machine.
        mac: Mac,
        /// How the request reached pxed.
        origin: Origin,
        /// The IPv4 address of the lease.
        address: Ipv4Addr,
    },
    /// A worker has learnt which offer style a machine's firmware needs.
    StyleLearnt {
        /// The machine.
        mac: Mac,
        /// The style. With `None`, the machine gets the usual style again.
        style: Option<Style>,
    },
    /// A transfer is running, and has lasted a second or more.
    Loading {
        /// The client.
        peer: Peer,
        /// The file.
        image: Arc<Image>,
        /// Bytes that have arrived so far.
        bytes: u64,
        /// All blocks have been sent, and only acknowledgements are missing.
        all_sent: bool,
    },
    /// A transfer has ended, complete or not.
    Fetched {
        /// The client.
        peer: Peer,
        /// The file.
        image: Arc<Image>,
        /// How the transfer ended.
        outcome: TransferOutcome,
        /// Bytes that arrived.
        bytes: u64,
        /// Duration of the transfer.
        took: Duration,
        /// DATA packets that were retransmitted.
        retransmits: u64,
    },
    /// pxed refused a request for a file.
    Refused {
        /// The client.
        peer: Peer,
        /// The name that the client requested.
        name: Box<FileName>,
        /// The reason.
        refusal: Refusal,
    },
}
