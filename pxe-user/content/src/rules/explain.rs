//! Why a rule decides, and why the rules before it do not match. Pure. `pxed explain` shows the result.

use super::matcher::{Condition, shown};
use super::policy::{Policy, Rule};
use super::request_facts::RequestFacts;

/// The outcome of one rule for one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleOutcome {
    /// The rule does not match: the machine does not meet this condition. Further conditions may fail as
    /// well.
    Misses {
        /// The first condition that fails.
        condition: Condition,
        /// The values of the condition, as text for people.
        wanted: String,
        /// The value that the machine shows, as text for people.
        shown: String,
    },
    /// The rule matches, and is the first to match: it decides.
    Matches,
    /// An earlier rule has decided.
    NotReached,
}

impl Policy {
    /// All rules in order, each with its outcome. The count of boots plays no part: it changes what a rule
    /// does, not whether it matches.
    #[must_use]
    pub fn explain(&self, facts: &RequestFacts<'_>) -> Vec<(&Rule, RuleOutcome)> {
        let mut is_decided = false;
        let fate = |rule: &Rule| {
            if is_decided {
                return RuleOutcome::NotReached;
            }
            match rule.matcher.mismatch(facts) {
                Some(condition) => RuleOutcome::Misses {
                    condition,
                    wanted: rule.matcher.wanted(condition),
                    shown: shown(facts, condition),
                },
                None => {
                    is_decided = true;
                    RuleOutcome::Matches
                }
            }
        };
        let fates: Vec<_> = self.rules().iter().map(fate).collect();
        self.rules().iter().zip(fates).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Action, Matcher, RuleLimits};
    use pxe_proto::dhcp::{Arch, BootService};
    use pxe_proto::mac::Mac;

    #[test]
    fn the_rule_that_is_said_to_match_is_the_one_that_decides() {
        let rule = |name: &str, vlan: Vec<u16>| Rule {
            name: name.into(),
            matcher: Matcher { vlan, ..Matcher::default() },
            action: Action::Ignore,
            image: None,
            style: None,
            boots: None,
            limits: RuleLimits::default(),
        };
        let service = BootService::new([10, 0, 0, 1].into());
        let rules = vec![rule("a", vec![3, 4]), rule("b", vec![7]), rule("c", vec![])];
        let policy = Policy::new(rules, service.clone(), service, None);
        for (vlan, decides) in [(Some(3), 0), (Some(7), 1), (None, 2)] {
            let facts = RequestFacts {
                mac: Mac::default(),
                uuid: None,
                arches: [Arch::X64].into_iter().collect(),
                class: b"PXEClient",
                user_class: b"",
                is_ipxe: false,
                relay: None,
                vlan,
                interface: "eth0",
            };
            let explained = policy.explain(&facts);
            let matches: Vec<_> = explained
                .iter()
                .filter(|(_, fate)| *fate == RuleOutcome::Matches)
                .map(|(rule, _)| *rule)
                .collect();
            assert_eq!(matches, [policy.decide(&facts, |_| 0).rule.unwrap()]);
            for (index, (_, fate)) in explained.iter().enumerate() {
                assert_eq!(index > decides, *fate == RuleOutcome::NotReached, "{fate:?}");
            }
        }
        let facts_of_none =
            |vlan| RuleOutcome::Misses { condition: Condition::Vlan, wanted: "3, 4".into(), shown: vlan };
        let facts = RequestFacts {
            mac: Mac::default(),
            uuid: None,
            arches: arrayvec::ArrayVec::new(),
            class: b"",
            user_class: b"",
            is_ipxe: false,
            relay: None,
            vlan: Some(9),
            interface: "",
        };
        assert_eq!(policy.explain(&facts)[0].1, facts_of_none("9".into()));
    }
}
