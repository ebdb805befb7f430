//! What a worker reports of a machine: a handful of events in a boot, none per packet.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayString;

use crate::boot::{FileName, Image, Refusal};
use crate::dhcp::{Arch, Style};
use crate::mac::Mac;
use crate::tftp::transfer::Outcome;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A machine was told what to load.
    Told {
        /// Which machine.
        mac: Mac,
        /// Its architecture.
        arch: Arch,
        /// Which program asked.
        client: Client,
        /// The file's name, or the URL.
        file: Brief,
        /// In which style.
        style: Style,
        /// By an ACK of the boot server, or by an OFFER.
        ack: bool,
        /// Its address, if it has one already.
        address: Option<Ipv4Addr>,
        /// The relay that stands between, if any.
        relay: Option<Ipv4Addr>,
    },
    /// There is nothing for a machine's architecture.
    NoImage {
        /// Which machine.
        mac: Mac,
        /// Its architecture.
        arch: Arch,
    },
    /// A file was transferred, or not to the end.
    Fetched {
        /// The client.
        client: SocketAddrV4,
        /// Its neighbour's Ethernet address; all zero where sockets hide it.
        peer: Mac,
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
        client: SocketAddrV4,
        /// Its neighbour's Ethernet address; all zero where sockets hide it.
        peer: Mac,
        /// What it asked for.
        name: Box<FileName>,
        /// Why it did not get it.
        refusal: Refusal,
    },
}
