//! What is known about the machine for which pxed writes a file.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::nonce::Nonce;
use pxe_proto::dhcp::{Arch, Uuid};
use pxe_proto::mac::Mac;

/// The directory of all files for one machine. Below it, each machine has a directory named by its Ethernet
/// address.
pub(super) const FOLDER: &str = "pxed";

/// The address and port of pxed as a machine reaches them. Texts for the machine contain them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedAt {
    /// The address of pxed to which the machine sent its request.
    pub server: Ipv4Addr,
    /// The port of pxed's HTTP server. `None` if HTTP is off.
    pub http: Option<u16>,
}

/// The values for the templates of a machine's files. The fleet's thread supplies them for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineFacts {
    /// The Ethernet address.
    pub mac: Mac,
    /// The UUID from its DHCP request. `None` if it sent none.
    pub uuid: Option<Uuid>,
    /// The IPv4 address. `None` if it is not known.
    pub address: Option<Ipv4Addr>,
    /// The architecture. `None` if it is not known.
    pub arch: Option<Arch>,
    /// The serial number. `None` until a test or a script reports it.
    pub serial: Option<String>,
    /// The name that an administrator gave to the machine, if any.
    pub name: Option<String>,
    /// The name of the rule that matched the machine last.
    pub rule: Option<Arc<str>>,
    /// The name of the image that the machine boots.
    pub image: Option<Arc<str>>,
    /// The machine must boot its own disk.
    pub local: bool,
    /// The nonce of the machine's current boot. `None` if the request does not come from the machine itself.
    pub nonce: Option<Nonce>,
}

impl MachineFacts {
    /// The facts about a machine of which only the Ethernet address is known.
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
