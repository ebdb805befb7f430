//! Haste: a duplicate ACK may bring the timer forward. It never sends anything itself: it still is the timer that does.

use std::time::Duration;

use super::{Block, SendSession, Timestamp, seconds};

/// Bounds of the time that passes between a duplicate ACK in a windowed transfer and the window's repeat.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// In lock-step, a duplicate ACK that comes sooner than this after the block may be the network's copy of the ACK that
/// the block answers. PXELINUX's time-out is the shortest of all: two of the BIOS's ticks, 55 to 110 ms.
const OWN_TIME_OUT: Duration = Duration::from_millis(50);

/// The same as long as no round trip was measured. iPXE's first time-out is 250 ms.
const OWN_TIME_OUT_FAR: Duration = Duration::from_millis(200);

impl SendSession {
    /// A duplicate ACK has come.
    pub(super) fn hasten(&mut self, now: Timestamp) {
        self.stay_patient(now);
        if self.retransmitted_early {
            return;
        }
        let pause = if self.is_lock_step() {
            // A block that the timer has repeated already is the timer's.
            if self.repeated || now.since(self.sent) < self.own_time_out() {
                return;
            }
            Duration::ZERO
        } else {
            self.pause()
        };
        self.retransmitted_early = true;
        self.deadline = self.deadline.min(now + pause);
    }

    /// The timer has repeated something, and the client still asks for it: it is there, so the timer backs off no further.
    /// iPXE is gone after 15.75 s, and where a third of the frames is lost that is too soon for 1, 2, 4 and 8 s. Nor does it
    /// end before [`SILENCE`](super::SILENCE): who asks for the last block lacks it.
    fn stay_patient(&mut self, now: Timestamp) {
        if self.repeats > 0 {
            self.repeats = 1;
            self.rto = self.first_rto();
            self.deadline = self.deadline.min((self.sent + seconds(self.rto)).max(now));
        }
    }

    fn is_lock_step(&self) -> bool {
        self.negotiated.windowsize == 1
    }

    fn pause(&self) -> Duration {
        // Before a round trip was measured, haste could mean to send each window twice: its echoes are duplicate ACKs again.
        match self.round_trip {
            0 => PAUSE.1,
            micros => Duration::from_micros(u64::from(micros) * 2).clamp(PAUSE.0, PAUSE.1),
        }
    }

    /// How long after a block a duplicate ACK can only be due to the client's own time-out.
    fn own_time_out(&self) -> Duration {
        match self.round_trip {
            0 => OWN_TIME_OUT_FAR,
            micros => Duration::from_micros(u64::from(micros) * 4).max(OWN_TIME_OUT),
        }
    }

    /// Something new was acknowledged: there may be haste again.
    pub(super) fn calm_down(&mut self) {
        // But not for the block after one that was repeated: its duplicate ACKs may be the client's answers to the repeat,
        // and if each of them led to the next, all blocks would go out twice to the end of the file.
        self.retransmitted_early = self.is_lock_step() && self.repeated;
    }

    /// Everything up to `acked` was acknowledged: a round trip is over, if this is what was sent last.
    ///
    /// In lock-step only the first answer is measured. Later ones the kernel may see in our place, and haste shall not
    /// depend on who carried the transfer.
    pub(super) fn measure(&mut self, now: Timestamp, acked: Block) {
        if self.repeated || self.repeats > 0 || acked + 1 < self.window_end {
            return;
        }
        let sample = u32::try_from(now.since(self.sent).as_micros()).unwrap_or(u32::MAX).max(1);
        match self.round_trip {
            0 if self.is_lock_step() && self.touched => {}
            0 => self.round_trip = sample,
            _ if self.is_lock_step() => {}
            known => self.round_trip = known - known / 8 + sample / 8,
        }
    }
}
