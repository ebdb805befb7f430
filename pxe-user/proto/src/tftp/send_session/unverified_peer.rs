//! Limits on what pxed sends before the client has acknowledged anything. Until then its address may be
//! forged, and the host with this address may have requested nothing.
//!
//! So a request causes a few packets at most, and only repeats of the request cause more:
//! - With options, pxed sends the OACK, which is no longer than the request, and repeats it: without repeats,
//!   GRUB could not boot after a lost ACK 0. The repeats come sooner if the client repeats its request,
//!   because then it has no OACK. A client that sends once a second and gives up after eleven seconds
//!   (`engine/tests/tftp/early_retransmit.rs`) needs that: if a third of the frames is lost, repeats at 1, 2,
//!   4 and 8 s come too late for it.
//! - Without options, pxed sends the first block, once. The block is many times as long as the request, and a
//!   client that does not receive it repeats the request.
//!
//! In all, before anything is acknowledged, pxed sends less than eight times the UDP payload of the request,
//! or one block, if that is more. `engine/tests/tftp/amplification.rs` checks this number, with a constant of
//! its own.

use std::time::Duration;

use super::{Phase, Repeats, SILENCE, SendSession, SessionAction, Timestamp, TransferOutcome, seconds};

/// The timer repeats an OACK at most this often, at 1, 2, 4, 8, 16 and 24 s unless the client repeats its
/// request. After that, each repeat of the request causes one OACK.
const OACKS_MAX: u8 = 6;
/// How long pxed waits for ACK 0. PXELINUX shows a prompt before it, and tries for 131 s in all
/// (`docs/decisions/0017-retransmission.md`).
const SILENCE_OFFERED: Duration = Duration::from_secs(135);
/// Minimum time between two first blocks, and between two OACKs.
const PAUSE: Duration = Duration::from_secs(1);

impl SendSession {
    /// Whether the client has acknowledged nothing since its request. The source address of such a request
    /// may be forged.
    pub fn is_unverified(&self) -> bool {
        matches!(self.phase, Phase::Offered { .. } | Phase::Unverified { .. })
    }

    /// Whether an identical request that arrives at `now` is a delayed copy of the one that started this
    /// transfer.
    ///
    /// Until something is acknowledged it always is. Later it is for one second only, since a machine that
    /// was reset may send the same request from the same port.
    pub fn is_same_session(&self, now: Timestamp) -> bool {
        const MOMENT: Duration = Duration::from_secs(1);
        match self.phase {
            // After this time the transfer is given up, and the client starts a new one.
            Phase::Offered { .. } => now.since(self.started) < SILENCE_OFFERED,
            Phase::Unverified { .. } => true,
            Phase::Sending | Phase::Ended => now.since(self.heard) < MOMENT,
        }
    }

    /// Handles a copy of the request. This never sends anything itself: the timer does, at most once a
    /// second.
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

    pub(super) fn repeat_oack(&mut self, now: Timestamp, oacks: u8) -> SessionAction {
        if now.since(self.started) >= SILENCE_OFFERED {
            return self.end(TransferOutcome::TimedOut);
        }
        if oacks == OACKS_MAX {
            self.wait_for_ack_0();
            return SessionAction::Wait;
        }
        self.phase = Phase::Offered { oacks: oacks + 1 };
        self.back_off(now);
        self.sent = now;
        SessionAction::SendOack
    }

    /// Stops repeating the OACK. The ACK of an earlier one may still arrive.
    pub(super) fn wait_for_ack_0(&mut self) {
        self.phase = Phase::Offered { oacks: OACKS_MAX };
        self.deadline = self.started + SILENCE_OFFERED;
    }

    pub(super) fn repeat_first_block(&mut self, now: Timestamp, is_repeat_due: bool) -> SessionAction {
        let ends = self.heard + SILENCE.max(seconds(self.first_rto()) * 3);
        if is_repeat_due {
            let action = self.open_window(now);
            self.phase = Phase::Unverified { is_repeat_due: false };
            self.repeats = Repeats::AfterLoss;
            self.deadline = ends;
            return action;
        }
        if now >= ends {
            return self.end(TransferOutcome::TimedOut);
        }
        self.deadline = ends;
        SessionAction::Wait
    }
}
