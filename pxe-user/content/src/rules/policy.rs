//! The rules of one interface in order, each with its action.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::matcher::Matcher;
use super::request_facts::RequestFacts;
use pxe_proto::dhcp::{BootService, Style};
use pxe_proto::mac::Mac;

/// What pxed does with a machine that matches a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// pxed offers this service.
    Boot(Box<BootService>),
    /// pxed tells the machine to boot its own disk.
    Local,
    /// pxed does not answer the machine.
    Ignore,
}

/// Limits on the TFTP options that pxed grants to a machine. The interface's limits apply as well: the lower
/// value counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleLimits {
    /// The largest block size in bytes. `None`: only the interface's limit applies.
    pub blksize: Option<u16>,
    /// The largest window in blocks. `None`: only the interface's limit applies.
    pub windowsize: Option<u16>,
}

/// A rule of `pxed.toml`, ready for one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The name, unique among all rules. Logs show it, and boots are counted by it.
    pub name: Arc<str>,
    /// The conditions that a machine must meet.
    pub matcher: Matcher,
    /// What pxed does with a machine that matches.
    pub action: Action,
    /// The name of the image that the machine boots. `None` if the rule names no image.
    pub image: Option<Arc<str>>,
    /// The reply style. `None`: the policy's style applies.
    pub style: Option<Style>,
    /// How many boots a machine gets by this rule. Then it boots its own disk. `None`: any number.
    pub boots: Option<u32>,
    /// Limits on TFTP options. They apply only if the conditions can be checked on a file request: see
    /// [`Policy::limits`].
    pub limits: RuleLimits,
}

/// The decision of a policy about one machine.
#[derive(Clone, Debug)]
pub struct Decision<'p> {
    /// The rule that decided. `None` if there are no rules, or no rule matches.
    pub rule: Option<&'p Rule>,
    /// What pxed offers. `None`: pxed sends no answer.
    pub service: Option<&'p BootService>,
    /// The service only tells the machine to boot its own disk.
    pub is_local: bool,
    /// The reply style of the rule or of the policy. `None`: the interface's default applies.
    pub style: Option<Style>,
}

/// The rules of one interface. The daemon builds a policy when it reads the configuration or when boot files
/// change, and replaces it as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// In the order of the configuration. The first rule that matches decides. If none matches, pxed does not
    /// answer.
    rules: Vec<Rule>,
    /// What every machine gets if there are no rules.
    usual: BootService,
    /// What a machine gets that must boot its own disk.
    local: BootService,
    /// The reply style for rules without one, and for a policy without rules.
    style: Option<Style>,
}

impl Policy {
    /// A policy of these rules. `usual` is the service for all machines if `rules` is empty, `local` the
    /// service for a machine that must boot its own disk. `style` is the style of rules without one.
    #[must_use]
    pub fn new(rules: Vec<Rule>, usual: BootService, local: BootService, style: Option<Style>) -> Self {
        Self { rules, usual, local, style }
    }

    /// A policy without rules: every machine gets `usual`.
    #[must_use]
    pub fn for_all(usual: BootService) -> Self {
        let local = BootService::new(usual.server);
        Self::new(Vec::new(), usual, local, None)
    }

    /// The rules, in the order in which they are tried.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What every machine gets if there are no rules.
    #[must_use]
    pub fn usual(&self) -> &BootService {
        &self.usual
    }

    /// The TFTP limits for a client: those of the first rule that the client matches, among the rules that
    /// have conditions only on the Ethernet address, the VLAN, the interface and the relay's network. A file
    /// request shows nothing else, so the configuration allows limits only in such rules.
    #[must_use]
    pub fn limits(&self, address: Ipv4Addr, mac: Mac, vlan: Option<u16>, interface: &str) -> RuleLimits {
        let decides = |rule: &&Rule| {
            rule.matcher.asks_clients_only() && rule.matcher.fits_client(address, mac, vlan, interface)
        };
        self.rules.iter().find(decides).map_or_else(RuleLimits::default, |rule| rule.limits)
    }

    /// Decides about a machine. `boots` returns how many boots the machine has completed by the rule of that
    /// name.
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
        let boots_used_up = rule.boots.is_some_and(|most| boots(&rule.name) >= most);
        match &rule.action {
            Action::Ignore => decided,
            Action::Boot(service) if !boots_used_up => Decision { service: Some(service), ..decided },
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

    fn service() -> BootService {
        BootService::new([10, 0, 0, 1].into())
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

    /// All machines behind a router appear with its Ethernet address. Their own IPv4 addresses are in their
    /// relay's network.
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
