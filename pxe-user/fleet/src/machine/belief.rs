//! What is believed of those who speak for a machine.
//!
//! A machine that was seen on our link is known by its frames. Without such frames a request in its name may be anybody's: a
//! relay's packets are not signed, and `chaddr` is just a field. A report is tied to a boot by a [`Nonce`], which stands only
//! in files that are written for the machine, and is given to nobody else.

use std::net::Ipv4Addr;

use super::Machine;
use crate::board::UnixMs;
use crate::changes::{ChangeLog, Draft};
use crate::claim::{Claim, ClaimRefusal};
use crate::event::Origin;
use crate::report::Stage;
use pxe_content::boot::Nonce;

impl Machine {
    /// Whether its frames have come over our link.
    pub(crate) fn is_on_link(&self) -> bool {
        self.on_link
    }

    /// Whether it has asked for an offer, and has not only been seen to load files.
    pub(crate) fn has_asked(&self) -> bool {
        self.client.is_some()
    }

    /// Whether what came by this way can be its own.
    pub(crate) fn may_come(&self, origin: Origin) -> bool {
        origin == Origin::Link || !self.on_link
    }

    /// Whether it is behind a relay at an address that nobody knows: then whoever asks for its files may be it.
    pub(crate) fn may_be_anywhere(&self) -> bool {
        !self.on_link && self.shown.relay.is_some() && self.shown.address.is_none()
    }

    /// A frame of its own has come from this address over our link.
    pub(crate) fn on_link_at(&mut self, address: Ipv4Addr) {
        self.on_link = true;
        self.shown.relay = None;
        self.at_address(address);
    }

    /// Somebody has asked in its name by another way than its own.
    pub(crate) fn doubted(&mut self, now: UnixMs, relay: Option<Ipv4Addr>, change_log: &mut ChangeLog) {
        if std::mem::replace(&mut self.attempt.doubted, true) {
            return;
        }
        let way =
            relay.map_or_else(|| "another machine's frame".into(), |relay| format!("the relay {relay}"));
        let text = format!(
            "ignored a request with its address that came through {way}, because the machine was seen on the \
             link. If it has moved: pxed again {}",
            self.mac
        );
        self.step(
            now,
            change_log,
            Draft::new("doubted", text).fact("relay", relay.map(|relay| relay.to_string())),
        );
        change_log.touch(self.mac);
    }

    /// The nonce of its present boot; `fresh` makes one.
    pub(crate) fn hand_out(
        &mut self,
        now: UnixMs,
        fresh: impl FnOnce() -> Option<Nonce>,
        change_log: &mut ChangeLog,
    ) -> Option<Nonce> {
        if self.local {
            return None;
        }
        self.begin_unasked(now, change_log);
        if self.attempt.nonce.is_none() {
            self.attempt.nonce = fresh();
            // It must outlive this process: the test that knows it does.
            change_log.touch(self.mac);
        }
        self.attempt.nonce
    }

    /// Whether a sender may speak for it.
    pub(crate) fn admits(&self, claim: &Claim) -> Result<(), ClaimRefusal> {
        if self.on_link && claim.neighbour.is_some_and(|neighbour| neighbour != self.mac) {
            return Err(ClaimRefusal::Sender);
        }
        match (claim.nonce, self.attempt.nonce) {
            (Some(shown), Some(known)) if shown == known => Ok(()),
            _ => Err(ClaimRefusal::Nonce),
        }
    }

    /// Whether a report of this stage can be true, as far as this boot is known.
    pub(crate) fn can_report(&self, stage: Stage) -> Result<(), ClaimRefusal> {
        if !self.attempt.payload && self.attempt.files == 0 {
            return Err(ClaimRefusal::NotFetched);
        }
        let has_begun =
            !self.fresh && self.shown.verdict.is_some() && self.test_began() >= self.attempt.began;
        if stage == Stage::Done && !has_begun {
            return Err(ClaimRefusal::NotBegun);
        }
        Ok(())
    }
}
