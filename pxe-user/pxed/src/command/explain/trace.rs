//! One request's way through everything that decides about it: the daemon's own code (`pxe_engine::responder::decide`), and
//! the files that the reply leads to.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::files::{Files, Walk};
use super::reply::silence;
use pxe_content::boot::MachineFacts;
use pxe_content::boot::{Catalogue, ServedAt};
use pxe_content::rules::{Access, Action, Decision, Policy, RequestFacts, Rule, RuleOutcome};
use pxe_engine::responder::decide::{Checks, Decided, Rulebook};
use pxe_proto::dhcp::{Ignored, MAX_REPLY, MessageView, Reply, Request, ServerPort, Style};
use pxe_proto::mac::Mac;

/// What is served, and as whom.
#[derive(Debug)]
pub(super) struct ExplainContext {
    pub(super) catalogue: Catalogue,
    pub(super) policy: Policy,
    pub(super) access: Access,
    pub(super) here: ServedAt,
    pub(super) interface: String,
    /// What stands for the address of a machine that does not show one.
    pub(super) client: Option<Ipv4Addr>,
    /// How often a machine has booted by its rule.
    pub(super) boots: u32,
    /// Images that cannot be opened, and why.
    pub(super) broken: Vec<(Arc<str>, String)>,
}

/// A reply with its bytes.
#[derive(Debug)]
pub(super) struct ReplyBytes<'w> {
    pub(super) reply: Reply<'w>,
    pub(super) bytes: Vec<u8>,
}

impl ReplyBytes<'_> {
    /// The reply as it can be read.
    pub(super) fn view(&self) -> anyhow::Result<MessageView<'_>> {
        MessageView::parse(&self.bytes).map_err(Into::into)
    }
}

/// What became of a request that is a boot server's to answer.
#[derive(Debug)]
pub(super) struct Trace<'w> {
    pub(super) steps: Vec<(&'w Rule, RuleOutcome)>,
    pub(super) decision: Decision<'w>,
    pub(super) said: Result<ReplyBytes<'w>, Ignored>,
    pub(super) files: Files,
    /// Why the image of the rule cannot be opened.
    pub(super) broken: Option<&'w str>,
}

impl ExplainContext {
    /// Follows a request.
    ///
    /// # Errors
    /// Why it is no boot server's to answer, whatever rules say.
    pub(super) fn trace<'w>(
        &'w self,
        request: &Request<'_>,
        via: ServerPort,
        from: SocketAddrV4,
        vlan: Option<u16>,
    ) -> Result<Trace<'w>, Ignored> {
        let rulebook = Rulebook {
            server: self.here.server,
            interface: &self.interface,
            access: &self.access,
            policy: &self.policy,
        };
        let decided = rulebook.decide(request, via, *from.ip(), vlan, &mut Imagined { boots: self.boots })?;
        let style = decided.decision.style.unwrap_or(Style::Direct);
        let mut out = [0; MAX_REPLY];
        let said = decided
            .reply(request, via, from, style, &mut out)
            .map(|reply| ReplyBytes { reply, bytes: out[..reply.len].to_vec() });
        let Decided { facts, decision } = decided;
        let files = match said.as_ref().ok().and_then(|said| Some((said, said.view().ok()?))) {
            Some((said, view)) => {
                let known = MachineFacts {
                    address: Some(request.ciaddr())
                        .filter(|address| !address.is_unspecified())
                        .or(self.client),
                    ..known(&facts, &decision)
                };
                let elsewhere = decision.service.and_then(|service| service.boot_server);
                Walk::new(&self.catalogue, self.here, &known).follow(
                    said.reply.summary.answer,
                    &view,
                    elsewhere,
                )
            }
            None => Files::default(),
        };
        let image = decision.rule.and_then(|rule| rule.image.as_ref());
        let broken = self.broken.iter().find(|(name, _)| Some(name) == image).map(|(_, why)| &**why);
        Ok(Trace { steps: self.policy.explain(&facts), decision, said, files, broken })
    }
}

/// A machine that is only imagined: it sends its own requests, within every rate limit.
struct Imagined {
    boots: u32,
}

impl Checks for Imagined {
    fn admit(&mut self, _request: &Request<'_>, _mac: Mac) -> Result<(), Ignored> {
        Ok(())
    }

    fn boots(&self, _mac: Mac, _rule: &str) -> u32 {
        self.boots
    }
}

/// What templates would know of the machine.
fn known(facts: &RequestFacts<'_>, decision: &Decision<'_>) -> MachineFacts {
    MachineFacts {
        mac: facts.mac,
        uuid: facts.uuid,
        address: None,
        arch: facts.arches.first().copied(),
        serial: None,
        name: None,
        rule: decision.rule.map(|rule| rule.name.clone()),
        image: decision.rule.and_then(|rule| rule.image.clone()),
        local: decision.is_local,
        nonce: None,
    }
}

impl Trace<'_> {
    /// What is in the way, unless the machine boots or shall not boot from here.
    pub(super) fn obstacles(&self) -> Vec<String> {
        if let Some(why) = self.broken {
            return vec![why.to_owned()];
        }
        let is_meant =
            self.decision.is_local || self.decision.rule.is_some_and(|rule| rule.action == Action::Ignore);
        match &self.said {
            Err(_) if is_meant => Vec::new(),
            Err(Ignored::Rule) => vec!["no rule matches, so pxed ignores the machine".into()],
            Err(ignored) => vec![silence(*ignored)],
            Ok(_) => self.files.missing.clone(),
        }
    }
}
