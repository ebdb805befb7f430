//! The rules of one interface in order, each with what it leads to.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::matcher::Matcher;
use super::request_facts::RequestFacts;
use pxe_proto::dhcp::{Service, Style};
use pxe_proto::mac::Mac;

/// What a rule leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// This is offered.
    Boot(Box<Service>),
    /// The machine boots its own disk.
    Local,
    /// The machine is not ours.
    Ignore,
}

/// What TFTP may grant to a machine, below what everybody may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleLimits {
    /// Most bytes in a block.
    pub blksize: Option<u16>,
    /// Most blocks in a window.
    pub windowsize: Option<u16>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, for people and for counting.
    pub name: Arc<str>,
    /// Whom it means.
    pub matcher: Matcher,
    /// What it leads to.
    pub action: Action,
    /// The image, if it boots one.
    pub image: Option<Arc<str>>,
    /// How machines are told, where it is not as everybody.
    pub style: Option<Style>,
    /// So many boots, then the own disk.
    pub boots: Option<u32>,
    /// What TFTP may grant.
    pub limits: RuleLimits,
}

/// What is to be done with a machine.
#[derive(Clone, Debug)]
pub struct Decision<'p> {
    /// The rule that decided.
    pub rule: Option<&'p Rule>,
    /// What is offered; `None` is silence.
    pub service: Option<&'p Service>,
    /// The machine boots its own disk.
    pub is_local: bool,
    /// How it is told, if that is said.
    pub style: Option<Style>,
}

/// The rules of one interface. Built and checked when the configuration is read, replaced as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// In their order; the first that matches wins. Where none does, the machine is left alone.
    rules: Vec<Rule>,
    /// What everybody gets where there are no rules at all.
    usual: Service,
    /// What machines get that boot their own disks.
    local: Service,
    /// How machines are told whose rule does not say it.
    style: Option<Style>,
}

impl Policy {
    /// A policy. Without rules everybody gets `usual`.
    #[must_use]
    pub fn new(rules: Vec<Rule>, usual: Service, local: Service, style: Option<Style>) -> Self {
        Self { rules, usual, local, style }
    }

    /// The same for everybody.
    #[must_use]
    pub fn for_all(usual: Service) -> Self {
        let local = Service::new(usual.server);
        Self::new(Vec::new(), usual, local, None)
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What everybody gets where there are no rules.
    #[must_use]
    pub fn usual(&self) -> &Service {
        &self.usual
    }

    /// What TFTP may grant to a machine: by the first rule that matches, of those that look at nothing but the address, the
    /// VLAN and the interface. A request for a file shows no more, so only these may have limits.
    #[must_use]
    pub fn limits(&self, address: Ipv4Addr, mac: Mac, vlan: Option<u16>, interface: &str) -> RuleLimits {
        let decides = |rule: &&Rule| {
            rule.matcher.asks_clients_only() && rule.matcher.fits_client(address, mac, vlan, interface)
        };
        self.rules.iter().find(decides).map_or_else(RuleLimits::default, |rule| rule.limits)
    }

    /// What is to be done with a machine; `boots` tells how often it has booted by a rule.
    #[must_use]
    pub fn decide(&self, facts: &RequestFacts<'_>, boots: impl Fn(&str) -> u32) -> Decision<'_> {
        let silence = Decision { rule: None, service: None, is_local: false, style: self.style };
        if self.rules.is_empty() {
            return Decision { service: Some(&self.usual), ..silence };
        }
        let Some(rule) = self.rules.iter().find(|rule| rule.matcher.mismatch(facts).is_none()) else {
            return silence;
        };
        let decided = Decision { rule: Some(rule), style: rule.style.or(self.style), ..silence };
        let is_through = rule.boots.is_some_and(|most| boots(&rule.name) >= most);
        match &rule.action {
            Action::Ignore => decided,
            Action::Boot(service) if !is_through => Decision { service: Some(service), ..decided },
            Action::Boot(_) | Action::Local => {
                Decision { service: Some(&self.local), is_local: true, ..decided }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::MacPattern;
    use pxe_proto::dhcp::Arch;

    const ONE: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const TWO: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn facts(mac: Mac) -> RequestFacts<'static> {
        RequestFacts {
            mac,
            uuid: None,
            arches: [Arch::X64].into_iter().collect(),
            class: b"PXEClient",
            user_class: b"",
            is_ipxe: false,
            relay: None,
            vlan: None,
            interface: "eth0",
        }
    }

    fn rule(name: &str, mac: Option<Mac>, action: Action) -> Rule {
        Rule {
            name: name.into(),
            matcher: Matcher { mac: mac.map(MacPattern::Whole).into_iter().collect(), ..Matcher::default() },
            action,
            image: None,
            style: None,
            boots: None,
            limits: RuleLimits::default(),
        }
    }

    fn service() -> Service {
        Service::new([10, 0, 0, 1].into())
    }

    fn boot() -> Action {
        Action::Boot(Box::new(service()))
    }

    fn name<'p>(decision: &Decision<'p>) -> Option<&'p str> {
        decision.rule.map(|rule| &*rule.name)
    }

    #[test]
    fn the_first_rule_that_matches_wins() {
        let rules = vec![rule("one", Some(ONE), Action::Ignore), rule("all", None, boot())];
        let policy = Policy::new(rules, service(), service(), None);
        let decision = policy.decide(&facts(ONE), |_| 0);
        assert_eq!((name(&decision), decision.service.is_some()), (Some("one"), false));
        let decision = policy.decide(&facts(TWO), |_| 0);
        assert_eq!(
            (name(&decision), decision.service.is_some(), decision.is_local),
            (Some("all"), true, false)
        );
    }

    #[test]
    fn who_matches_no_rule_is_left_alone_and_without_rules_all_are_served() {
        let policy = Policy::new(vec![rule("one", Some(ONE), boot())], service(), service(), None);
        let decision = policy.decide(&facts(TWO), |_| 0);
        assert!(decision.rule.is_none() && decision.service.is_none());
        assert!(Policy::for_all(service()).decide(&facts(TWO), |_| 0).service.is_some());
    }

    #[test]
    fn limits_are_those_of_the_first_rule_that_means_the_neighbour() {
        let limits = RuleLimits { blksize: Some(512), windowsize: None };
        let arch = Matcher { arch: vec![Arch::BIOS], ..Matcher::default() };
        let rules = vec![
            Rule { matcher: arch, ..rule("by what a neighbour does not show", None, boot()) },
            rule("one", Some(ONE), boot()),
            Rule { limits, ..rule("all", None, boot()) },
        ];
        let policy = Policy::new(rules, service(), service(), None);
        let near = Ipv4Addr::new(10, 0, 0, 9);
        assert_eq!(policy.limits(near, ONE, None, "eth0"), RuleLimits::default());
        assert_eq!(policy.limits(near, TWO, None, "eth0"), limits);
    }

    /// Behind a router all have its Ethernet address, and addresses of the network that their relay is in.
    #[test]
    fn limits_may_mean_machines_behind_a_relay() {
        let limits = RuleLimits { blksize: Some(1024), windowsize: None };
        let matcher = Matcher { relay: vec!["10.7.0.0/16".parse().unwrap()], ..Matcher::default() };
        let rules = vec![Rule { matcher, limits, ..rule("far", None, boot()) }];
        let policy = Policy::new(rules, service(), service(), None);
        assert_eq!(policy.limits(Ipv4Addr::new(10, 7, 3, 4), TWO, None, "eth0"), limits);
        assert_eq!(policy.limits(Ipv4Addr::new(10, 8, 3, 4), TWO, None, "eth0"), RuleLimits::default());
    }

    #[test]
    fn after_so_many_boots_a_machine_boots_its_own_disk() {
        let rules = vec![Rule { boots: Some(2), ..rule("twice", None, boot()) }];
        let policy = Policy::new(rules, service(), service(), None);
        for (boots, is_local) in [(0, false), (1, false), (2, true), (3, true)] {
            let decision = policy.decide(&facts(ONE), |rule| if rule == "twice" { boots } else { 99 });
            assert_eq!((decision.is_local, decision.service.is_some()), (is_local, true), "{boots}");
        }
    }
}
