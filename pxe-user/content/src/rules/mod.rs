//! Which machine gets what: rules, the first that matches wins. Pure.
//!
//! | file | noun |
//! |---|---|
//! | [`access`] | who is served at all |
//! | [`explain`] | why a rule was taken, and why those before it were not |
//! | [`facts`] | what a request shows of a machine |
//! | [`matcher`] | the conditions of a rule, and which of them fails |
//! | [`pattern`] | addresses, networks and texts with `*` |
//! | [`policy`] | the rules in order, with what each of them leads to |

pub mod access;
pub mod explain;
pub mod matcher;
pub mod pattern;
pub mod policy;
pub mod request_facts;

pub use access::{Access, Allowed};
pub use explain::Fate;
pub use matcher::{Condition, Matcher};
pub use pattern::{Glob, MacPattern, Network};
pub use policy::{Action, Decision, Policy, Rule, RuleLimits};
pub use request_facts::RequestFacts;
