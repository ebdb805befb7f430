//! Before the client has acknowledged anything, its address may be forged, and the host that has this address has asked for
//! nothing.
//!
//! So a request brings a few packets at the most, and only repeats of the request bring more. With options that is the OACK,
//! which is no longer than the request, and its repeats: without them GRUB would not survive a lost ACK 0. The repeats come
//! sooner if the client asks again, because it has no OACK yet: plain clients give up after eleven seconds, and where a third
//! of the frames is lost, repeats at 1, 2, 4 and 8 s come too late. Without options it is the first block, once: the block is
//! many times as long, and clients that get none ask again.
//!
//! In all, what a request brings before anything was acknowledged has less than eight times its bytes of UDP payload, or one
//! block, if that is more. `engine/tests/tftp/amplification.rs` holds the code to this number, which it does not take from
//! here.

use std::time::Duration;

use super::{Outcome, Phase, Repeats, SILENCE, SendSession, Step, Timestamp, seconds};

/// The timer repeats an OACK this often at the most, at 1, 2, 4, 8, 16 and 24 s unless the client asks again. After that, each
/// repeat of the request brings one OACK.
const OACKS_MAX: u8 = 6;
/// ACK 0 may come late: PXELINUX shows a prompt meanwhile, and tries for 131 s in all (`docs/decisions/0017-retransmission.md`).
const SILENCE_OFFERED: Duration = Duration::from_secs(135);
/// The least time between two first blocks, and between two OACKs.
const PAUSE: Duration = Duration::from_secs(1);

impl SendSession {
    /// Whether the client has answered nothing since its request, which may therefore be forged.
    pub fn is_unverified(&self) -> bool {
        matches!(self.phase, Phase::Offered { .. } | Phase::Unverified { .. })
    }

    /// Whether the same request again at `now` is a delayed copy of the one that began this transfer.
    ///
    /// Until something was acknowledged it always is. Later it is for a moment only, since a machine that was reset may come
    /// back with the same port and the same request.
    pub fn is_same_session(&self, now: Timestamp) -> bool {
        const MOMENT: Duration = Duration::from_secs(1);
        match self.phase {
            // After that the transfer has been given up, and the client begins anew.
            Phase::Offered { .. } => now.since(self.started) < SILENCE_OFFERED,
            Phase::Unverified { .. } => true,
            Phase::Sending | Phase::Ended => now.since(self.heard) < MOMENT,
        }
    }

    /// The same request has come again. This never sends anything itself: the timer does, once a second at the most.
    pub fn ask_again(&mut self, now: Timestamp) {
        match &mut self.phase {
            Phase::Offered { oacks } => *oacks = (*oacks).min(OACKS_MAX - 1),
            Phase::Unverified { is_repeat_due } => {
                *is_repeat_due = true;
                self.heard = now;
            }
            Phase::Sending | Phase::Ended => return,
        }
        self.deadline = self.deadline.min(now.max(self.sent + PAUSE));
    }

    pub(super) fn repeat_oack(&mut self, now: Timestamp, oacks: u8) -> Step {
        if now.since(self.started) >= SILENCE_OFFERED {
            return self.end(Outcome::TimedOut);
        }
        if oacks == OACKS_MAX {
            self.wait_for_ack_0();
            return Step::Wait;
        }
        self.phase = Phase::Offered { oacks: oacks + 1 };
        self.back_off(now);
        self.sent = now;
        Step::SendOack
    }

    /// Sends no more OACKs. The answer to one may still come.
    pub(super) fn wait_for_ack_0(&mut self) {
        self.phase = Phase::Offered { oacks: OACKS_MAX };
        self.deadline = self.started + SILENCE_OFFERED;
    }

    pub(super) fn repeat_first_block(&mut self, now: Timestamp, is_repeat_due: bool) -> Step {
        let ends = self.heard + SILENCE.max(seconds(self.first_rto()) * 3);
        if is_repeat_due {
            let step = self.open_window(now);
            self.phase = Phase::Unverified { is_repeat_due: false };
            self.repeats = Repeats::AfterLoss;
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
