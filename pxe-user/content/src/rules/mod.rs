//! The rules: which machine boots what. The first rule that matches decides.
//!
//! A [`Policy`] is built from the configuration for each interface. `pxe-engine` asks it for each DHCP
//! request ([`Policy::decide`]) and, for the limits of a transfer, at each TFTP request ([`Policy::limits`]).
//! [`Access`] decides before the rules. `pxed explain` shows the steps of a decision.
//!
//! The code here is pure: it does no I/O and reads no clock. The number of boots comes in as an argument.
//!
//! | file | contents |
//! |---|---|
//! | [`access`] | the list of machines that pxed serves at all |
//! | [`explain`] | why a rule decided, and why the rules before it did not match |
//! | [`request_facts`] | what a DHCP request shows about a machine |
//! | [`matcher`] | the conditions of a rule, and which of them fails |
//! | [`pattern`] | Ethernet addresses, networks, and texts with `*` |
//! | [`policy`] | the rules in order, each with its action |

pub mod access;
pub mod explain;
pub mod matcher;
pub mod pattern;
pub mod policy;
pub mod request_facts;

pub use access::{Access, Allowed};
pub use explain::RuleOutcome;
pub use matcher::{Condition, Matcher};
pub use pattern::{Glob, MacPattern, Network};
pub use policy::{Action, Decision, Policy, Rule, RuleLimits};
pub use request_facts::RequestFacts;
