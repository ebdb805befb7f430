//! Before the client has acknowledged anything: its address may be forged, and whoever has it has not asked.
//!
//! So a request brings a few packets at the most, and only its own repeats bring more. With options that is the OACK, which
//! is no longer than the request, and its repeats, without which GRUB would not get over a lost ACK 0. These come sooner if
//! the client asks again, so has no OACK yet: plain clients are gone after eleven seconds, and where a third of the frames is
//! lost that is too soon for 1, 2, 4 and 8 s. Without options it is the first block, once: it is many times as long, and
//! clients that get none ask again.
//!
//! In all, what a request brings before anything was acknowledged has less than eight times its bytes of UDP payload, or one
//! block, if that is more: `tests/tftp/amplification.rs` holds the code against this number, which it does not take from here.

use std::time::Duration;

use super::{Outcome, Phase, SILENCE, SendSession, Step, Timestamp, seconds};

/// An OACK is repeated this often at the most, at 1, 2, 4, 8, 16 and 24 s unless the client asks again; after that each of the
/// client's own repeats brings one.
const OACKS_MAX: u8 = 6;
/// ACK 0 may come late: PXELINUX shows a prompt meanwhile, and tries for 131 s in all (`docs/decisions/0017-retransmission.md`).
const SILENCE_OFFERED: Duration = Duration::from_secs(135);
/// Between two first blocks, and two OACKs.
const PAUSE: Duration = Duration::from_secs(1);

impl SendSession {
    /// Whether the client was never heard after its request, which may therefore be forged.
    pub fn is_unheard(&self) -> bool {
        !self.touched && self.phase != Phase::Ended
    }

    /// Whether the same request again at `now` is a delayed copy of the one that began this transfer.
    ///
    /// Until something was acknowledged it always is; later only for a moment, since a machine that was reset may come back
    /// with the same port and the same request.
    pub fn is_same_session(&self, now: Timestamp) -> bool {
        const MOMENT: Duration = Duration::from_secs(1);
        match self.phase {
            // Later it has been given up, and whoever asks begins anew.
            Phase::Offered => now.since(self.started) < SILENCE_OFFERED,
            Phase::Sending if !self.touched => true,
            Phase::Sending | Phase::Ended => now.since(self.heard) < MOMENT,
        }
    }

    /// The same request has come again. It never sends anything itself: that is still the timer, once a second at the most.
    pub fn ask_again(&mut self, now: Timestamp) {
        match self.phase {
            Phase::Offered => self.repeats = self.repeats.min(OACKS_MAX - 1),
            Phase::Sending if !self.touched => {
                self.heard = now;
                self.repeats = 1;
            }
            Phase::Sending | Phase::Ended => return,
        }
        self.deadline = self.deadline.min(now.max(self.sent + PAUSE));
    }

    pub(super) fn offer_again(&mut self, now: Timestamp) -> Step {
        if now.since(self.started) >= SILENCE_OFFERED {
            return self.end(Outcome::TimedOut);
        }
        if self.repeats == OACKS_MAX {
            self.wait_for_answer();
            return Step::Wait;
        }
        self.back_off(now);
        self.sent = now;
        Step::SendOack
    }

    /// No more OACKs: the answer to one may still come.
    pub(super) fn wait_for_answer(&mut self) {
        self.repeats = OACKS_MAX;
        self.deadline = self.started + SILENCE_OFFERED;
    }

    pub(super) fn first_block_again(&mut self, now: Timestamp) -> Step {
        let ends = self.heard + SILENCE.max(seconds(self.first_rto()) * 3);
        if std::mem::take(&mut self.repeats) > 0 {
            let step = self.open_window(now);
            self.repeated = true;
            self.deadline = ends;
            return step;
        }
        if now >= ends {
            return self.end(Outcome::TimedOut);
        }
        self.deadline = ends;
        Step::Wait
    }
}
