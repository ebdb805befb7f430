//! What a DHCP request shows about a machine, as far as rules can match on it.

use std::net::Ipv4Addr;

use pxe_proto::dhcp::{Arch, Request, Uuid};
use pxe_proto::mac::Mac;

/// The properties of a request that rules match on. It borrows from the request.
#[derive(Clone, Debug)]
pub struct RequestFacts<'a> {
    /// The Ethernet address of the machine.
    pub mac: Mac,
    /// The UUID from option 97. `None` if the option is missing or malformed.
    pub uuid: Option<Uuid>,
    /// The architectures that the client lists, best first. At most eight: further ones are ignored.
    pub arches: arrayvec::ArrayVec<Arch, 8>,
    /// Option 60, the vendor class, as sent. Empty if it is missing.
    pub class: &'a [u8],
    /// Option 77, the user class, as sent. Empty if it is missing. See [`Self::user_classes`].
    pub user_class: &'a [u8],
    /// Whether iPXE sent the request, not the firmware.
    pub is_ipxe: bool,
    /// The relay that forwarded the request (giaddr). `None` if the machine is in pxed's own network.
    pub relay: Option<Ipv4Addr>,
    /// The VLAN of the request's frames. `None` if they are untagged.
    pub vlan: Option<u16>,
    /// The name of pxed's interface that received the request.
    pub interface: &'a str,
}

impl<'a> RequestFacts<'a> {
    /// The facts of a request of the machine `mac` that arrived on `interface`.
    pub fn of(mac: Mac, request: &'a Request<'_>, vlan: Option<u16>, interface: &'a str) -> Self {
        Self {
            mac,
            uuid: request.uuid(),
            arches: request.arches().take(8).collect(),
            class: request.vendor_class(),
            user_class: request.user_class(),
            is_ipxe: request.is_ipxe(),
            relay: Some(request.giaddr()).filter(|relay| !relay.is_unspecified()),
            vlan,
            interface,
        }
    }

    /// The names in option 77. The option holds a single name, or a list as in RFC 3004 section 4. A list of
    /// more than 16 names counts as a single name.
    pub fn user_classes(&self) -> impl Iterator<Item = &'a [u8]> {
        let raw = self.user_class;
        let mut rest = raw;
        let mut names = arrayvec::ArrayVec::<&[u8], 16>::new();
        while let [len, tail @ ..] = rest {
            let Some((name, next)) = tail.split_at_checked(usize::from(*len)) else { break };
            if *len == 0 || names.try_push(name).is_err() {
                break;
            }
            rest = next;
        }
        // Use the list only if it fills the option exactly: iPXE sends its name without a length byte.
        if !rest.is_empty() {
            names.clear();
        }
        let whole = names.is_empty() && !raw.is_empty();
        names.into_iter().chain(whole.then_some(raw))
    }
}
