//! What is known of the machine that a generated file is for.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::nonce::Nonce;
use pxe_proto::dhcp::{Arch, Uuid};
use pxe_proto::mac::Mac;

/// What templates of generated files are filled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineFacts {
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its UUID.
    pub uuid: Option<Uuid>,
    /// Its IPv4 address.
    pub address: Option<Ipv4Addr>,
    /// Its architecture.
    pub arch: Option<Arch>,
    /// Its serial number, if a test or a script has reported it before.
    pub serial: Option<String>,
    /// Its name, if it was given one.
    pub name: Option<String>,
    /// The rule that it matched last, by name.
    pub rule: Option<Arc<str>>,
    /// The image that it boots.
    pub image: Option<Arc<str>>,
    /// It was sent to its own disk.
    pub local: bool,
    /// The nonce of its present boot, if it is the machine itself that asks.
    pub nonce: Option<Nonce>,
}

impl MachineFacts {
    /// Those of a machine of which nothing but its address is known.
    #[must_use]
    pub const fn unknown(mac: Mac) -> Self {
        Self {
            mac,
            uuid: None,
            address: None,
            arch: None,
            serial: None,
            name: None,
            rule: None,
            image: None,
            local: false,
            nonce: None,
        }
    }
}
