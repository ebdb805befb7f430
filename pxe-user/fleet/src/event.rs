//! What a worker reports of a machine: a handful of events in a boot, none per packet.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayString;
use serde::{Deserialize, Serialize};

use pxe_content::boot::{FileName, Image, Refusal};
use pxe_proto::dhcp::{Arch, Style, Uuid};
use pxe_proto::mac::Mac;
use pxe_proto::tftp::send_session::Outcome;

/// A short text without a place on the heap; longer ones are cut.
pub type Brief = ArrayString<128>;

/// Cuts a text to what a [`Brief`] holds.
pub fn brief(text: &str) -> Brief {
    let mut brief = Brief::new();
    for character in text.chars() {
        if brief.try_push(character).is_err() {
            break;
        }
    }
    brief
}

/// Which program asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Client {
    /// Firmware, or a card's ROM.
    Pxe,
    /// iPXE.
    Ipxe,
    /// UEFI HTTP boot.
    Http,
}

impl Client {
    /// The word for it in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pxe => "PXE",
            Self::Ipxe => "iPXE",
            Self::Http => "HTTP boot",
        }
    }
}

/// What a machine was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// To load a file, or a URL.
    Boot,
    /// To choose from a menu.
    Menu,
    /// To boot its own disk.
    Local,
}

/// Why a machine gets no answer, as far as it is one that could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// There is nothing for its architecture.
    NoImage,
    /// A rule says so.
    Rule,
}

/// How a file travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TFTP, over whichever datapath.
    Tftp,
    /// HTTP.
    Http,
}

/// The way of a request to us, as far as its frame shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the machine itself, over the link: the frame's source is its own address. Where sockets hide that, the request
    /// was a broadcast, which no router forwards, or the kernel knows the sender as a neighbour.
    Link,
    /// Through somebody else: a relay, a router, or a bridge that rewrites addresses. With the frame's source, if it is known.
    Through(Option<Mac>),
}

/// Who asks for a machine's attention: what a request for an offer shows of it.
#[derive(Clone, Debug)]
pub struct Requester {
    /// Which machine.
    pub mac: Mac,
    /// How its request came.
    pub origin: Origin,
    /// Its architecture.
    pub arch: Arch,
    /// Which program asked.
    pub client: Client,
    /// What that program calls itself: option 60.
    pub firmware: Brief,
    /// Its UUID, if it sent one.
    pub uuid: Option<Uuid>,
    /// Its address, if it has one already.
    pub address: Option<Ipv4Addr>,
    /// The relay that stands between, if any.
    pub relay: Option<Ipv4Addr>,
    /// The VLAN of its frames, if they are tagged.
    pub vlan: Option<u16>,
    /// Our interface.
    pub interface: Arc<str>,
    /// The rule that decided, if there are rules.
    pub rule: Option<Arc<str>>,
    /// The image that the rule names.
    pub image: Option<Arc<str>>,
}

impl Requester {
    /// A firmware on our link of which no more is known than its address and architecture.
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

    /// That nothing is there for its architecture, and the remedy.
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
    /// Its address and port.
    pub address: SocketAddrV4,
    /// Its neighbour's Ethernet address: its own, or its router's; all zero where sockets hide it.
    pub mac: Mac,
    /// By which protocol.
    pub transport: Transport,
}

impl Peer {
    /// Its neighbour's Ethernet address: its frames', or where sockets hide them, the one that the kernel knows.
    pub fn link(&self, neighbour: impl Fn(Ipv4Addr) -> Option<Mac>) -> Option<Mac> {
        let is_known = |mac: &Mac| *mac != Mac::default();
        Some(self.mac).filter(is_known).or_else(|| neighbour(*self.address.ip()).filter(is_known))
    }
}

impl Event {
    /// The client of a file that this is about.
    pub fn peer(&self) -> Option<&Peer> {
        match self {
            Self::Loading { peer, .. } | Self::Fetched { peer, .. } | Self::Refused { peer, .. } => {
                Some(peer)
            }
            Self::Told { .. } | Self::Unanswered { .. } | Self::Leased { .. } | Self::Learnt { .. } => None,
        }
    }
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A machine was told what to load.
    Told {
        /// Which machine.
        requester: Box<Requester>,
        /// What.
        what: Telling,
        /// The file's name, or the URL.
        file: Brief,
        /// In which style.
        style: Style,
        /// By an ACK of the boot server, or by an OFFER.
        ack: bool,
    },
    /// A machine that could be answered was not.
    Unanswered {
        /// Which machine.
        requester: Box<Requester>,
        /// Why.
        why: Unanswered,
    },
    /// A machine takes a lease from the DHCP server, and tells all servers so.
    Leased {
        /// Which machine.
        mac: Mac,
        /// How its request came.
        origin: Origin,
        /// The address that it takes.
        address: Ipv4Addr,
    },
    /// A machine's firmware has shown that it wants to be told in this style.
    Learnt {
        /// Which machine.
        mac: Mac,
        /// The style; `None` is the usual one again.
        style: Option<Style>,
    },
    /// A file is on its way, and has been for a second or more.
    Loading {
        /// The client.
        peer: Peer,
        /// The file.
        image: Arc<Image>,
        /// Bytes that arrived so far.
        bytes: u64,
        /// Every block was sent: only acknowledgements are missing.
        all_sent: bool,
    },
    /// A file was transferred, or not to the end.
    Fetched {
        /// The client.
        peer: Peer,
        /// The file.
        image: Arc<Image>,
        /// How it ended.
        outcome: Outcome,
        /// Bytes that arrived.
        bytes: u64,
        /// How long it took.
        took: Duration,
        /// DATA packets that were sent again.
        retransmits: u64,
    },
    /// A file was refused.
    Refused {
        /// The client.
        peer: Peer,
        /// What it asked for.
        name: Box<FileName>,
        /// Why it did not get it.
        refusal: Refusal,
    },
}
