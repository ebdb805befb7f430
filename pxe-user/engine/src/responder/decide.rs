//! Decides whether and how a DHCP request is answered. The daemon and `pxed explain` use the same steps in
//! the same order:
//!
//! ```text
//! dhcp::admit -> Checks::admit -> Access      -> Policy::decide -> dhcp::reply
//! (is it ours)   (rate, sender)   (allowed?)     (which rule)      (the bytes)
//! ```

use std::net::{Ipv4Addr, SocketAddrV4};

use pxe_content::rules::{Access, Decision, Policy, RequestFacts};
use pxe_proto::dhcp::{self, Ignored, Reply, Request, ServerPort, Style};
use pxe_proto::mac::Mac;

/// The address, interface and rules by which requests are decided.
#[derive(Clone, Copy, Debug)]
pub struct Rulebook<'p> {
    /// Our address on the interface.
    pub server: Ipv4Addr,
    /// The interface's name, for rules that name one.
    pub interface: &'p str,
    /// The machines that `[access]` allows.
    pub access: &'p Access,
    /// The rules: which machine boots which image.
    pub policy: &'p Policy,
}

/// Steps that need state or the frame, which only the caller has.
pub trait Checks {
    /// Whether a request that pxed may answer is within its rate limit, and comes from the machine itself.
    ///
    /// # Errors
    /// Why the request is not answered.
    fn admit(&mut self, request: &Request<'_>, mac: Mac) -> Result<(), Ignored>;

    /// How often a machine has booted by the rule with this name.
    fn boots(&self, mac: Mac, rule: &str) -> u32;
}

/// A request that pxed should answer, and the rule that it matches.
#[derive(Debug)]
pub struct Decided<'r, 'p> {
    /// The facts about the request that rules use.
    pub facts: RequestFacts<'r>,
    /// The result of the rules: the service for this machine, if there is one.
    pub decision: Decision<'p>,
}

impl<'p> Rulebook<'p> {
    /// Decides about a request that arrived at `port` from `from`, with this VLAN tag.
    ///
    /// # Errors
    /// Why the request is not answered, for all reasons that come before the rules.
    pub fn decide<'r>(
        &self,
        request: &'r Request<'_>,
        port: ServerPort,
        from: Ipv4Addr,
        vlan: Option<u16>,
        checks: &mut impl Checks,
    ) -> Result<Decided<'r, 'p>, Ignored>
    where
        'p: 'r,
    {
        let mac = dhcp::admit(self.server, request, port)?.mac;
        checks.admit(request, mac)?;
        if !self.access.allows_request(request, mac, from, self.server) {
            return Err(Ignored::NotAllowed);
        }
        let facts = RequestFacts::of(mac, request, vlan, self.interface);
        let decision = self.policy.decide(&facts, |rule| checks.boots(mac, rule));
        Ok(Decided { facts, decision })
    }
}

impl<'p> Decided<'_, 'p> {
    /// Writes the reply into `out`, which should hold [`dhcp::MAX_REPLY`] bytes.
    ///
    /// # Errors
    /// Why the request is not answered: no rule matches, or the service has nothing for this machine.
    pub fn reply(
        &self,
        request: &Request<'_>,
        port: ServerPort,
        from: SocketAddrV4,
        style: Style,
        out: &mut [u8],
    ) -> Result<Reply<'p>, Ignored> {
        let service = self.decision.service.ok_or(Ignored::Rule)?;
        dhcp::reply(service, request, port, from, style, out)
    }
}
