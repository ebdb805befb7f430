//! Who is served at all, whatever rules say.
//!
//! Addresses can be forged by whoever is on the network: this keeps away who is there by mistake, not who means harm.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::pattern::{InvalidPattern, MacPattern, Network};
use pxe_proto::dhcp::Request;
use pxe_proto::mac::Mac;

/// One or many machines that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// By their Ethernet addresses.
    Mac(MacPattern),
    /// By their IPv4 addresses, or that of the relay in front of them.
    Network(Network),
}

impl FromStr for Allowed {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        // A maker's addresses may be written with a star, too.
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

/// Who is served. Without a list, everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    allow: Option<Vec<Allowed>>,
}

impl Access {
    /// These, and nobody else.
    #[must_use]
    pub fn only(allow: Vec<Allowed>) -> Self {
        Self { allow: Some(allow) }
    }

    /// Whether there is no list.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.allow.is_none()
    }

    /// Whether a machine at an IPv4 address is served. `mac` is asked for its Ethernet address only if the list has any.
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

    /// The same for a DHCP request of the machine `mac` that came from `from`. Who has no address yet is where its relay
    /// is, or where we are, at `own`.
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
