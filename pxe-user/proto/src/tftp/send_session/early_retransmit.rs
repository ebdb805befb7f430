//! Early retransmission: a duplicate ACK may bring the timer forward. It never sends anything itself; the
//! timer does.

use std::time::Duration;

use super::{Block, Phase, Repeats, SendSession, Timestamp, seconds};

/// Bounds of the time between a duplicate ACK and the repeat of the window, in a transfer with windows.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// In lock-step, a duplicate ACK that arrives sooner than this after a block may be a copy, made by the
/// network, of the ACK that the block answers. Of the boot clients, PXELINUX has the shortest time-out: two
/// ticks of the BIOS, 55 to 110 ms.
const OWN_TIME_OUT: Duration = Duration::from_millis(50);

/// The same bound while no round trip is measured. The first time-out of iPXE is 250 ms.
const OWN_TIME_OUT_FAR: Duration = Duration::from_millis(200);

/// Whether a duplicate ACK may bring the timer forward in the window that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EarlyRetransmit {
    /// It may, once.
    Allowed,
    /// A duplicate ACK has done so already, or duplicate ACKs cannot be trusted.
    Spent,
}

impl EarlyRetransmit {
    /// The value for the next window, after a window that was repeated as `repeats` says. In lock-step,
    /// duplicate ACKs after a repeated block may be answers to the repeat. If each of them caused the next
    /// repeat, pxed would send all blocks twice to the end of the file.
    pub(super) fn after(repeats: Repeats, is_lock_step: bool) -> Self {
        if is_lock_step && repeats != Repeats::None { Self::Spent } else { Self::Allowed }
    }
}

impl SendSession {
    /// Handles an ACK of the block that was acknowledged last.
    pub(super) fn on_duplicate_ack(&mut self, now: Timestamp) {
        self.limit_back_off(now);
        if self.early == EarlyRetransmit::Spent {
            return;
        }
        let pause = if self.is_lock_step() {
            // Only the timer repeats a block again that was repeated already.
            if self.repeats != Repeats::None || now.since(self.sent) < self.own_time_out() {
                return;
            }
            Duration::ZERO
        } else {
            self.pause()
        };
        self.early = EarlyRetransmit::Spent;
        self.deadline = self.deadline.min(now + pause);
    }

    /// If the timer has repeated something and the client still requests it, the client is there, so the
    /// time-out goes back to its first value. iPXE gives up after 15.75 s, and if a third of the frames is
    /// lost, repeats at 1, 2, 4 and 8 s come too late for it.
    ///
    /// The count of repeats starts again as well, so the transfer does not end before
    /// [`SILENCE`](super::SILENCE): a client that requests the last block lacks it.
    fn limit_back_off(&mut self, now: Timestamp) {
        match &mut self.repeats {
            Repeats::ByTimer { times, is_asked_for } => (*times, *is_asked_for) = (1, true),
            // A client that repeats its request asks in the same way.
            _ if self.phase == (Phase::Unverified { is_repeat_due: true }) => {}
            Repeats::None | Repeats::AfterLoss => return,
        }
        self.rto = self.first_rto();
        self.deadline = self.deadline.min((self.sent + seconds(self.rto)).max(now));
    }

    fn pause(&self) -> Duration {
        // Before a round trip is measured, an early repeat could send each window twice: the echoes of its
        // blocks are duplicate ACKs again.
        match self.round_trip {
            0 => PAUSE.1,
            micros => Duration::from_micros(u64::from(micros) * 2).clamp(PAUSE.0, PAUSE.1),
        }
    }

    /// Returns how long after a block a duplicate ACK can only come from the time-out of the client.
    fn own_time_out(&self) -> Duration {
        match self.round_trip {
            0 => OWN_TIME_OUT_FAR,
            micros => Duration::from_micros(u64::from(micros) * 4).max(OWN_TIME_OUT),
        }
    }

    /// Measures the round trip, if `acked` is the end of the window that was sent last, and the window was
    /// sent once.
    ///
    /// In lock-step only the first answer counts. The kernel may handle later ones instead of user space, and
    /// early retransmission must not depend on which of them has sent a block.
    pub(super) fn measure(&mut self, now: Timestamp, acked: Block) {
        let is_asked_again = self.phase == Phase::Unverified { is_repeat_due: true };
        if self.repeats != Repeats::None || is_asked_again || !self.window.ends_at(acked) {
            return;
        }
        let sample = u32::try_from(now.since(self.sent).as_micros()).unwrap_or(u32::MAX).max(1);
        match self.round_trip {
            0 if self.is_lock_step() && self.phase == Phase::Sending => {}
            0 => self.round_trip = sample,
            _ if self.is_lock_step() => {}
            known => self.round_trip = known - known / 8 + sample / 8,
        }
    }
}
