//! The access list `[access]`: the machines that pxed serves at all. It applies before any rule.
//!
//! The list protects against mistakes, not against attackers: anybody on the network can forge an address.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::pattern::{InvalidPattern, MacPattern, Network};
use pxe_proto::dhcp::Request;
use pxe_proto::mac::Mac;

/// An entry of the list. It allows one machine or many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// By Ethernet address.
    Mac(MacPattern),
    /// By IPv4 address: the machine's own, or the address of its relay.
    Network(Network),
}

impl FromStr for Allowed {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        // The first three bytes of an address may also be written with a star: `52:54:00:*`.
        let mac = text.strip_suffix(":*").or_else(|| text.strip_suffix("-*")).unwrap_or(text);
        if let Ok(pattern) = mac.parse() {
            return Ok(Self::Mac(pattern));
        }
        match text.parse() {
            Ok(network @ Network::Relays(..)) => Ok(Self::Network(network)),
            Err(error @ InvalidPattern::HostBits { .. }) => Err(error),
            _ => Err(InvalidPattern::Allowed(text.to_owned())),
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(pattern) => pattern.fmt(f),
            Self::Network(network) => network.fmt(f),
        }
    }
}

/// The access list. The default has no list, so pxed serves every machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    allow: Option<Vec<Allowed>>,
}

impl Access {
    /// An access list with these entries. pxed serves no other machine. An empty list allows no machine.
    #[must_use]
    pub fn only(allow: Vec<Allowed>) -> Self {
        Self { allow: Some(allow) }
    }

    /// Whether there is no list, so that pxed serves every machine.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.allow.is_none()
    }

    /// Whether pxed serves a machine with this IPv4 address. `mac` looks up its Ethernet address. It is
    /// called only if no network allows `address` and the list has Ethernet addresses, because over sockets
    /// the look-up reads the host's neighbour table.
    #[must_use]
    pub fn allows(&self, address: Ipv4Addr, mac: impl FnOnce() -> Option<Mac>) -> bool {
        let Some(allow) = &self.allow else { return true };
        let by_address = |allowed: &Allowed| match allowed {
            Allowed::Network(network) => network.matches(Some(address)),
            Allowed::Mac(_) => false,
        };
        if allow.iter().any(by_address) {
            return true;
        }
        let mut patterns = allow.iter().filter_map(|allowed| match allowed {
            Allowed::Mac(pattern) => Some(*pattern),
            Allowed::Network(_) => None,
        });
        let Some(first) = patterns.next() else { return false };
        let Some(mac) = mac() else { return false };
        first.matches(mac) || patterns.any(|pattern| pattern.matches(mac))
    }

    /// Whether pxed serves the sender of a DHCP request. `mac` is the machine's Ethernet address, `from` the
    /// source address of the request, and `own` pxed's address on this interface.
    ///
    /// The list's networks are compared with the relay's address (giaddr) if there is one, else with `from`
    /// if the machine has an address, else with `own`: a machine without an address is in pxed's own network.
    #[must_use]
    pub fn allows_request(&self, request: &Request<'_>, mac: Mac, from: Ipv4Addr, own: Ipv4Addr) -> bool {
        let known = |address: &Ipv4Addr| !address.is_unspecified();
        let address = [request.giaddr(), from].into_iter().find(known).unwrap_or(own);
        self.allows(address, || Some(mac))
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(allow) = &self.allow else { return f.write_str("everybody") };
        for (index, allowed) in allow.iter().enumerate() {
            write!(f, "{}{allowed}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0x52, 0x54, 0, 1, 2, 3]);

    fn only(texts: &[&str]) -> Access {
        Access::only(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn by_ethernet_address_or_network() {
        let near = Ipv4Addr::new(10, 1, 2, 3);
        for (list, allows) in [
            (&["52:54:00:01:02:03"][..], true),
            (&["52:54:00:*"], true),
            (&["52-54-00-*"], true),
            (&["52:54:00"], true),
            (&["52:54:01:*"], false),
            (&["10.1.0.0/16"], true),
            (&["10.1.2.3"], true),
            (&["10.2.0.0/16"], false),
            (&["aa:bb:cc:*", "10.2.0.0/16", "52:54:00:*"], true),
            (&["aa:bb:cc:*", "10.2.0.0/16"], false),
            (&[], false),
        ] {
            assert_eq!(only(list).allows(near, || Some(MAC)), allows, "{list:?}");
        }
        assert!(Access::default().allows(near, || panic!("nobody asks")));
        assert!(only(&["10.1.0.0/16", "52:54:00"]).allows(near, || panic!("the address suffices")));
        assert!(!only(&["10.2.0.0/16"]).allows(near, || panic!("the list has none")));
        assert!(!only(&["52:54:00:*"]).allows(near, || None));
    }

    #[test]
    fn what_is_neither_is_said() {
        for wrong in ["", "*", "none", "52:54", "10.1", "fe80::1", "52:54:00:01:*"] {
            let error = wrong.parse::<Allowed>().unwrap_err().to_string();
            assert!(error.contains("10.1.0.0/16") && error.contains("52:54:00"), "{error}");
        }
        let error = "10.1.2.3/16".parse::<Allowed>().unwrap_err().to_string();
        assert!(error.contains("did you mean 10.1.0.0/16"), "{error}");
        assert_eq!(only(&["52-54-00-*", "10.0.0.0/8"]).to_string(), "52:54:00, 10.0.0.0/8");
    }
}
