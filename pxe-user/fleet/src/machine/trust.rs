//! Decides which requests and reports count as a machine's own.
//!
//! If a machine was seen on the link, its frames identify it. Without such frames, anybody can send a request
//! in its name: relays do not sign their packets, and `chaddr` is a plain field. A report belongs to a boot
//! by its [`Nonce`]. The nonce is only in files that are generated for this machine, and pxed hands it out to
//! no other client.

use std::net::Ipv4Addr;

use super::Machine;
use crate::board::UnixMs;
use crate::changes::{ChangeLog, Draft};
use crate::claim::{Claim, ClaimRefusal};
use crate::event::Origin;
use crate::report::Stage;
use pxe_content::boot::Nonce;

impl Machine {
    /// Whether a frame of its own has come over the link.
    pub(crate) fn is_on_link(&self) -> bool {
        self.on_link
    }

    /// Whether it has sent a DHCP request. Otherwise it was only seen to load files.
    pub(crate) fn has_asked(&self) -> bool {
        self.client.is_some()
    }

    /// Whether a request that came this way can be its own.
    pub(crate) fn may_come(&self, origin: Origin) -> bool {
        origin == Origin::Link || !self.on_link
    }

    /// Whether it is behind a relay and has no known address. Then the first client that requests its files
    /// counts as the machine.
    pub(crate) fn may_be_anywhere(&self) -> bool {
        !self.on_link && self.shown.relay.is_some() && self.shown.address.is_none()
    }

    /// A frame of its own came over the link from this address.
    pub(crate) fn on_link_at(&mut self, address: Ipv4Addr) {
        self.on_link = true;
        self.shown.relay = None;
        self.at_address(address);
    }

    /// A request in its name came by another way, and is ignored. The first one in a boot becomes a step.
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

    /// Returns the nonce of its present boot. If there is none yet, `fresh` makes it.
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
            // The nonce must be stored, because the test that knows it survives a restart of pxed.
            change_log.touch(self.mac);
        }
        self.attempt.nonce
    }

    /// Checks that a sender may speak for this machine.
    ///
    /// # Errors
    /// [`ClaimRefusal::Sender`] or [`ClaimRefusal::Nonce`].
    pub(crate) fn admits(&self, claim: &Claim) -> Result<(), ClaimRefusal> {
        if self.on_link && claim.neighbour.is_some_and(|neighbour| neighbour != self.mac) {
            return Err(ClaimRefusal::Sender);
        }
        match (claim.nonce, self.attempt.nonce) {
            (Some(shown), Some(known)) if shown == known => Ok(()),
            _ => Err(ClaimRefusal::Nonce),
        }
    }

    /// Checks that a report of this stage can be true, as far as this boot is known.
    ///
    /// # Errors
    /// [`ClaimRefusal::NotFetched`] or [`ClaimRefusal::NotBegun`].
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
