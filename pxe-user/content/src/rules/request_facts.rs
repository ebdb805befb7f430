//! What a request shows of a machine, as far as rules look at it.

use std::net::Ipv4Addr;

use pxe_proto::dhcp::{Arch, Request, Uuid};
use pxe_proto::mac::Mac;

/// What rules look at. Borrows from the request.
#[derive(Clone, Debug)]
pub struct RequestFacts<'a> {
    /// The machine.
    pub mac: Mac,
    /// Its UUID, if it sent one.
    pub uuid: Option<Uuid>,
    /// Its architectures, best first; more than eight are not looked at.
    pub arches: arrayvec::ArrayVec<Arch, 8>,
    /// Option 60.
    pub class: &'a [u8],
    /// Option 77 as sent.
    pub user_class: &'a [u8],
    /// Whether iPXE itself asks.
    pub is_ipxe: bool,
    /// The relay between us (giaddr).
    pub relay: Option<Ipv4Addr>,
    /// The VLAN of its frames, if they are tagged.
    pub vlan: Option<u16>,
    /// Our interface.
    pub interface: &'a str,
}

impl<'a> RequestFacts<'a> {
    /// The facts of a request that came in here.
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

    /// The names in option 77: one, or a list in the form of RFC 3004 section 4.
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
        // Only if all of it is such a list: iPXE sends its name as it is.
        if !rest.is_empty() {
            names.clear();
        }
        let whole = names.is_empty() && !raw.is_empty();
        names.into_iter().chain(whole.then_some(raw))
    }
}
