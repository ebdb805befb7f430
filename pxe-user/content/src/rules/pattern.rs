//! Patterns as rules write them: Ethernet addresses, IPv4 networks, and texts with `*`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use pxe_proto::mac::Mac;

/// Why a text is not a valid pattern. Each value is the text as written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// The text is neither an Ethernet address nor the first three bytes of one.
    #[error("`{0}` is no Ethernet address (52:54:00:12:34:56) nor the first three bytes of one (52:54:00)")]
    Mac(String),
    /// The text is not an IPv4 address, a network or `none`.
    #[error("`{0}` is no IPv4 address (10.1.2.3), network (10.1.0.0/16) or `none`")]
    Network(String),
    /// The text is neither an Ethernet address (or its first three bytes) nor an IPv4 network.
    #[error(
        "`{0}` is no Ethernet address (52:54:00:12:34:56), no maker's beginning of one (52:54:00:*) and no IPv4 network (10.1.0.0/16)"
    )]
    Allowed(String),
    /// The address of a network has bits that are set behind the prefix.
    #[error("`{network}` has bits beyond its prefix: did you mean {meant}?")]
    HostBits {
        /// The network as written.
        network: String,
        /// The network with these bits cleared.
        meant: String,
    },
}

/// An Ethernet address, or the three bytes that a manufacturer's addresses start with (OUI).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacPattern {
    /// One address.
    Whole(Mac),
    /// All addresses with this OUI.
    Oui([u8; 3]),
}

impl MacPattern {
    /// Whether the pattern matches an address.
    #[must_use]
    pub fn matches(self, mac: Mac) -> bool {
        match self {
            Self::Whole(whole) => whole == mac,
            Self::Oui(oui) => mac.0.starts_with(&oui),
        }
    }

    /// Whether this pattern matches all addresses that `other` matches.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        match other {
            Self::Whole(mac) => self.matches(mac),
            Self::Oui(_) => self == other,
        }
    }
}

impl FromStr for MacPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let invalid = || InvalidPattern::Mac(text.to_owned());
        if let Ok(mac) = text.parse() {
            return Ok(Self::Whole(mac));
        }
        let colons = text.replace('-', ":");
        let whole: Mac = format!("{colons}:00:00:00").parse().map_err(|_| invalid())?;
        let [a, b, c, ..] = whole.0;
        Ok(Self::Oui([a, b, c]))
    }
}

impl fmt::Display for MacPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(mac) => write!(f, "{mac}"),
            Self::Oui([a, b, c]) => write!(f, "{a:02x}:{b:02x}:{c:02x}"),
        }
    }
}

/// A condition on the relay of a request (giaddr).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// There is no relay: the machine is in pxed's own network.
    NoRelay,
    /// A relay in this network: the first address of the network, and the length of its prefix in bits, 0 to
    /// 32.
    Relays(Ipv4Addr, u8),
}

impl Network {
    /// Whether the condition matches a relay. `relay` is `None` for a request that came without a relay.
    #[must_use]
    pub fn matches(self, relay: Option<Ipv4Addr>) -> bool {
        match (self, relay) {
            (Self::NoRelay, None) => true,
            (Self::Relays(network, prefix), Some(relay)) => {
                relay.to_bits() & mask(prefix) == network.to_bits()
            }
            _ => false,
        }
    }

    /// Whether this is a network of more than one address. The addresses of machines behind the relay may be
    /// in such a network too. A single address is only the relay's own.
    #[must_use]
    pub fn is_network(self) -> bool {
        matches!(self, Self::Relays(_, prefix) if prefix < 32)
    }

    /// Whether this condition matches all relays that `other` matches.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Relays(_, prefix), Self::Relays(network, longer)) => {
                prefix <= longer && self.matches(Some(network))
            }
            _ => self == other,
        }
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

impl FromStr for Network {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        if text == "none" {
            return Ok(Self::NoRelay);
        }
        let invalid = || InvalidPattern::Network(text.to_owned());
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let address: Ipv4Addr = address.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32).ok_or_else(invalid)?;
        let network = Ipv4Addr::from_bits(address.to_bits() & mask(prefix));
        if network != address {
            return Err(InvalidPattern::HostBits {
                network: text.to_owned(),
                meant: format!("{network}/{prefix}"),
            });
        }
        Ok(Self::Relays(network, prefix))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRelay => f.write_str("none"),
            Self::Relays(address, 32) => write!(f, "{address}"),
            Self::Relays(network, prefix) => write!(f, "{network}/{prefix}"),
        }
    }
}

/// A text in which each `*` stands for any number of bytes, also for zero bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// A glob from any text: every text is valid.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether the glob matches all of `text`. There is no backtracking: behind a `*`, the first place where
    /// the next part fits is as good as any later place. So the time is at most proportional to the product
    /// of both lengths.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        let mut parts = self.0.as_bytes().split(|byte| *byte == b'*');
        let Some(rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        let mut rest = rest;
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            if part.is_empty() {
                continue;
            }
            let Some(at) = rest.windows(part.len()).position(|window| window == part) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }

    /// Whether this glob matches everything that `other` matches. `true` is certain, `false` may be wrong.
    /// The check matches the text of `other` with each `*` in it as an ordinary byte, which only a `*` of
    /// this glob can match.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_its_maker_is_meant() {
        let mac = Mac([0x52, 0x54, 0, 1, 2, 3]);
        for (pattern, matches) in [
            ("52:54:00:01:02:03", true),
            ("52-54-00-01-02-03", true),
            ("52:54:00", true),
            ("52:54:01", false),
            ("52:54:00:01:02:04", false),
        ] {
            assert_eq!(pattern.parse::<MacPattern>().unwrap().matches(mac), matches, "{pattern}");
        }
        for wrong in ["52:54", "52:54:00:01", "52:54:0", "", "x", "52:54:00:01:02:03:04"] {
            assert!(wrong.parse::<MacPattern>().is_err(), "{wrong}");
        }
        let [oui, one]: [MacPattern; 2] = ["52:54:00", "52:54:00:01:02:03"].map(|text| text.parse().unwrap());
        assert!(oui.covers(one) && oui.covers(oui) && !one.covers(oui));
    }

    #[test]
    fn relays_are_meant_by_network() {
        let relay = |text: &str| Some(text.parse::<Ipv4Addr>().unwrap());
        for (pattern, address, matches) in [
            ("10.1.0.0/16", relay("10.1.255.1"), true),
            ("10.1.0.0/16", relay("10.2.0.1"), false),
            ("10.1.0.0/16", None, false),
            ("0.0.0.0/0", relay("192.0.2.1"), true),
            ("192.0.2.1", relay("192.0.2.1"), true),
            ("none", None, true),
            ("none", relay("10.1.0.1"), false),
        ] {
            assert_eq!(
                pattern.parse::<Network>().unwrap().matches(address),
                matches,
                "{pattern} {address:?}"
            );
        }
        let error = "10.1.2.3/16".parse::<Network>().unwrap_err().to_string();
        assert!(error.contains("10.1.0.0/16"), "{error}");
        for wrong in ["10.1.0.0/33", "10.1.0/16", "", "some", "10.1.0.0/-1"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        let [wide, narrow]: [Network; 2] = ["10.0.0.0/8", "10.1.0.0/16"].map(|text| text.parse().unwrap());
        assert!(wide.covers(narrow) && !narrow.covers(wide) && !wide.covers(Network::NoRelay));
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (glob, text, matches) in [
            ("PXEClient*", "PXEClient:Arch:00007", true),
            ("PXEClient*", "HTTPClient", false),
            ("*:00007:*", "PXEClient:Arch:00007:UNDI:003000", true),
            ("*:00007:*", "PXEClient:Arch:00000:UNDI:003000", false),
            ("iPXE", "iPXE", true),
            ("iPXE", "iPXE2", false),
            ("iPXE", "", false),
            ("*", "", true),
            ("", "", true),
            ("**a**", "bab", true),
            ("a*a", "a", false),
            ("a*b*c", "abbc", true),
            ("a*b*c", "acb", false),
        ] {
            assert_eq!(Glob::new(glob).matches(text.as_bytes()), matches, "{glob} {text}");
        }
        assert!(Glob::new("PXE*").covers(&Glob::new("PXEClient*")));
        assert!(!Glob::new("PXEClient*").covers(&Glob::new("PXE*")));
    }

    proptest::proptest! {
        /// Compares with the definition: a glob matches a text if some way to cut the text fits.
        #[test]
        fn globs_match_as_defined(glob in "[ab*]{0,6}", text in "[ab]{0,8}") {
            fn matches(glob: &[u8], text: &[u8]) -> bool {
                match glob {
                    [] => text.is_empty(),
                    [b'*', rest @ ..] => (0..=text.len()).any(|at| matches(rest, &text[at..])),
                    [byte, rest @ ..] => text.first() == Some(byte) && matches(rest, &text[1..]),
                }
            }
            proptest::prop_assert_eq!(Glob::new(&glob).matches(text.as_bytes()), matches(glob.as_bytes(), text.as_bytes()));
        }
    }
}
