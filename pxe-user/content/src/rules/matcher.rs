//! The conditions of a rule. A machine meets a condition if it meets any of its values. A condition without
//! values is met by every machine.

use std::fmt;
use std::net::Ipv4Addr;

use super::pattern::{Glob, MacPattern, Network};
use super::request_facts::RequestFacts;
use pxe_proto::dhcp::{Arch, Printable, Uuid};
use pxe_proto::mac::Mac;

/// The conditions of a rule. A machine matches the rule if it meets all of them. An empty list is no
/// condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
    /// Ethernet addresses, or the first three bytes of them (OUI).
    pub mac: Vec<MacPattern>,
    /// SMBIOS UUIDs, from option 97.
    pub uuid: Vec<Uuid>,
    /// Architectures. The code of a processor (`x64`) matches its PXE boot and its HTTP boot, `x64-http` only
    /// HTTP boot. See [`Arch::processor`].
    pub arch: Vec<Arch>,
    /// Vendor classes, from option 60.
    pub class: Vec<Glob>,
    /// User classes, from option 77. A glob that matches `iPXE` also matches an iPXE that only sends option
    /// 175.
    pub user_class: Vec<Glob>,
    /// Relays (giaddr), or `none` for requests without a relay.
    pub relay: Vec<Network>,
    /// VLANs. 0 matches untagged frames.
    pub vlan: Vec<u16>,
    /// Names of pxed's interfaces.
    pub interface: Vec<String>,
}

/// A kind of condition, for messages about conditions that a machine does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The Ethernet address.
    Mac,
    /// The UUID.
    Uuid,
    /// The architecture.
    Arch,
    /// The vendor class (option 60).
    Class,
    /// The user class (option 77).
    UserClass,
    /// The relay (giaddr).
    Relay,
    /// The VLAN.
    Vlan,
    /// The interface that received the request.
    Interface,
}

impl Condition {
    /// The key of this condition in a rule of `pxed.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mac => "mac",
            Self::Uuid => "uuid",
            Self::Arch => "arch",
            Self::Class => "class",
            Self::UserClass => "user_class",
            Self::Relay => "relay",
            Self::Vlan => "vlan",
            Self::Interface => "interface",
        }
    }
}

impl Matcher {
    /// The first condition that a machine does not meet, in the order of the fields. `None` if it meets all
    /// conditions.
    #[must_use]
    pub fn mismatch(&self, facts: &RequestFacts<'_>) -> Option<Condition> {
        let met = [
            (Condition::Mac, any(&self.mac, |pattern| pattern.matches(facts.mac))),
            (Condition::Uuid, any(&self.uuid, |uuid| facts.uuid == Some(*uuid))),
            (Condition::Arch, any(&self.arch, |arch| facts.arches.iter().any(|own| means(*arch, *own)))),
            (Condition::Class, any(&self.class, |glob| glob.matches(facts.class))),
            (Condition::UserClass, any(&self.user_class, |glob| of_user_class(glob, facts))),
            (Condition::Relay, any(&self.relay, |network| network.matches(facts.relay))),
            (Condition::Vlan, any(&self.vlan, |vlan| facts.vlan.unwrap_or(0) == *vlan)),
            (Condition::Interface, any(&self.interface, |name| name == facts.interface)),
        ];
        met.into_iter().find(|(_, met)| !met).map(|(condition, _)| condition)
    }

    /// Whether a client that requests a file meets the conditions which a file request can show: the Ethernet
    /// address `mac` of its neighbour (its own, or a router's), its own IPv4 `address`, the VLAN and the
    /// interface. A client behind a relay has an address in the relay's network, so `address` is compared
    /// with the networks of relays.
    #[must_use]
    pub fn fits_client(&self, address: Ipv4Addr, mac: Mac, vlan: Option<u16>, interface: &str) -> bool {
        any(&self.mac, |pattern| pattern.matches(mac))
            && any(&self.relay, |network| network.matches(Some(address)))
            && any(&self.vlan, |wanted| vlan.unwrap_or(0) == *wanted)
            && any(&self.interface, |name| name == interface)
    }

    /// Whether the rule has no other conditions than those that [`Self::fits_client`] checks. A condition on
    /// a relay must be a network: see [`Network::is_network`].
    #[must_use]
    pub fn asks_clients_only(&self) -> bool {
        let is_network = |relay: &Network| relay.is_network();
        self.uuid.is_empty()
            && self.arch.is_empty()
            && self.class.is_empty()
            && self.user_class.is_empty()
            && self.relay.iter().all(is_network)
    }

    /// Whether every machine that `other` matches also matches here. A later rule with such a matcher is
    /// never reached.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        covers(&self.mac, &other.mac, |a, b| a.covers(*b))
            && covers(&self.uuid, &other.uuid, PartialEq::eq)
            && covers(&self.arch, &other.arch, |a, b| means(*a, *b))
            && covers(&self.class, &other.class, Glob::covers)
            && covers(&self.user_class, &other.user_class, Glob::covers)
            && covers(&self.relay, &other.relay, |a, b| a.covers(*b))
            && covers(&self.vlan, &other.vlan, PartialEq::eq)
            && covers(&self.interface, &other.interface, PartialEq::eq)
    }

    /// The values of one condition, as text for people.
    #[must_use]
    pub fn wanted(&self, condition: Condition) -> String {
        fn list<T: fmt::Display>(all: &[T]) -> String {
            all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
        match condition {
            Condition::Mac => list(&self.mac),
            Condition::Uuid => list(&self.uuid),
            Condition::Arch => list(&self.arch),
            Condition::Class => list(&self.class),
            Condition::UserClass => list(&self.user_class),
            Condition::Relay => list(&self.relay),
            Condition::Vlan => list(&self.vlan),
            Condition::Interface => list(&self.interface),
        }
    }
}

/// The value that a machine shows for a condition, as text for people. Of several architectures it shows the
/// first, which the machine prefers.
#[must_use]
pub fn shown(facts: &RequestFacts<'_>, condition: Condition) -> String {
    fn or_none<T: fmt::Display>(value: Option<T>) -> String {
        value.map_or_else(|| "none".to_owned(), |value| value.to_string())
    }
    match condition {
        Condition::Mac => facts.mac.to_string(),
        Condition::Uuid => or_none(facts.uuid),
        Condition::Arch => or_none(facts.arches.first()),
        Condition::Class => Printable(facts.class).to_string(),
        Condition::UserClass => {
            or_none(Some(Printable(facts.user_class)).filter(|class| !class.0.is_empty()))
        }
        Condition::Relay => or_none(facts.relay),
        Condition::Vlan => or_none(facts.vlan),
        Condition::Interface => facts.interface.to_owned(),
    }
}

fn any<T>(wanted: &[T], is_met: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(is_met)
}

fn covers<T>(wide: &[T], narrow: &[T], one: impl Fn(&T, &T) -> bool) -> bool {
    wide.is_empty() || !narrow.is_empty() && narrow.iter().all(|b| wide.iter().any(|a| one(a, b)))
}

fn means(wanted: Arch, own: Arch) -> bool {
    wanted == own || wanted == own.processor()
}

fn of_user_class(glob: &Glob, facts: &RequestFacts<'_>) -> bool {
    facts.user_classes().any(|class| glob.matches(class)) || facts.is_ipxe && glob.matches(b"iPXE")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> RequestFacts<'static> {
        RequestFacts {
            mac: Mac([0x52, 0x54, 0, 1, 2, 3]),
            uuid: Some(Uuid([7; 16])),
            arches: [Arch::EBC].into_iter().collect(),
            class: b"PXEClient:Arch:00009",
            user_class: b"\x04iPXE\x03lab",
            is_ipxe: true,
            relay: Some([10, 1, 0, 1].into()),
            vlan: Some(12),
            interface: "eth0",
        }
    }

    #[test]
    fn each_condition_is_met_or_named() {
        let any = Matcher::default;
        let met = [
            Matcher { mac: vec!["52:54:00".parse().unwrap()], ..any() },
            Matcher { uuid: vec![Uuid([7; 16])], ..any() },
            Matcher { arch: vec![Arch::BIOS, Arch::X64], ..any() },
            Matcher { class: vec![Glob::new("PXEClient*")], ..any() },
            Matcher { user_class: vec![Glob::new("lab")], ..any() },
            Matcher { user_class: vec![Glob::new("iPXE")], ..any() },
            Matcher { relay: vec!["10.1.0.0/16".parse().unwrap()], ..any() },
            Matcher { vlan: vec![12], ..any() },
            Matcher { interface: vec!["eth0".into()], ..any() },
            any(),
        ];
        for matcher in met {
            assert_eq!(matcher.mismatch(&facts()), None, "{matcher:?}");
        }
        let missed = [
            (Condition::Mac, Matcher { mac: vec!["52:54:01".parse().unwrap()], ..any() }),
            (Condition::Uuid, Matcher { uuid: vec![Uuid([8; 16])], ..any() }),
            (Condition::Arch, Matcher { arch: vec![Arch::BIOS], ..any() }),
            (Condition::Class, Matcher { class: vec![Glob::new("HTTPClient*")], ..any() }),
            (Condition::UserClass, Matcher { user_class: vec![Glob::new("la")], ..any() }),
            (Condition::Relay, Matcher { relay: vec![Network::NoRelay], ..any() }),
            (Condition::Vlan, Matcher { vlan: vec![0, 13], ..any() }),
            (Condition::Interface, Matcher { interface: vec!["eth1".into()], ..any() }),
        ];
        for (condition, matcher) in missed {
            assert_eq!(matcher.mismatch(&facts()), Some(condition));
            assert!(!matcher.wanted(condition).is_empty() && !shown(&facts(), condition).is_empty());
        }
    }

    #[test]
    fn a_processor_means_http_boot_too_but_not_the_other_way_round() {
        let x64 = Matcher { arch: vec![Arch::X64], ..Matcher::default() };
        let http = Matcher { arch: vec![Arch::X64_HTTP], ..Matcher::default() };
        let with = |arch: Arch| RequestFacts { arches: [arch].into_iter().collect(), ..facts() };
        assert_eq!((x64.mismatch(&with(Arch::X64_HTTP)), x64.mismatch(&with(Arch::X64))), (None, None));
        assert_eq!(http.mismatch(&with(Arch::X64_HTTP)), None);
        assert_eq!(http.mismatch(&with(Arch::X64)), Some(Condition::Arch));
        assert!(x64.covers(&http) && !http.covers(&x64));
    }

    #[test]
    fn what_is_covered_is_never_reached() {
        let all = Matcher::default();
        let maker = Matcher { mac: vec!["52:54:00".parse().unwrap()], ..Matcher::default() };
        let one =
            Matcher { mac: vec!["52:54:00:01:02:03".parse().unwrap()], vlan: vec![3], ..Matcher::default() };
        assert!(all.covers(&maker) && all.covers(&all) && maker.covers(&one));
        assert!(!maker.covers(&all) && !one.covers(&maker));
    }
}
