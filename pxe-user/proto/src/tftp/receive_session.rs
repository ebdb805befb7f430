//! One upload as a state machine: the other direction of [`transfer`](super::transfer). Events in, what to send out.
//!
//! ```text
//!            WRQ, and there is a place        DATA 1               a short DATA               the file is kept
//!   (start) --------------------------> Offered ----> Receiving -----------------> Finishing ------------------> Complete
//!             OACK, or ACK 0                           ^   |  ACK of each window                  the last ACK
//!                                                      +---+
//! ```
//!
//! The rules that keep a network quiet:
//! - A block is acknowledged only when it was taken, and the last one only when the whole file is kept. What finds no room
//!   is as good as lost.
//! - While the disk is behind, the ACK of a window waits for it: so what is on its way there is bounded, and nothing is lost.
//! - A gap in a window is told at once by an ACK of the last block before it (RFC 7440, section 4), once: if the window
//!   that follows has a gap, too, that is the timer's affair. An ACK for each would make a client send a window for each.
//! - Only the block that was taken last is acknowledged again when it comes again, and only if it comes so late that it is
//!   due to the client's time-out: copies that the network makes come sooner. So two ACKs of one block cannot breed, not
//!   even with a client that has the Sorcerer's Apprentice in it (RFC 1123, section 4.2.3.1).
//! - After the last ACK the client may still ask for it (RFC 1350, section 6): see [`ReceiveSession::dally`].

use std::time::Duration;

use super::Block;
use super::negotiation::NegotiatedOptions;
use super::packet::ErrorCode;
use super::send_session::{Ignored, Outcome, RTO_FIRST, RTO_MAX, SILENCE, Step, seconds};
use crate::time::Timestamp;

/// A client that sends nothing at all after its request is not waited for longer: the request may be forged. The least
/// patient clients repeat theirs every 5 s (tftp-hpa, atftp).
const SILENCE_OFFERED: Duration = Duration::from_secs(20);
/// A file is kept within this time, or the disk hangs.
const FINISHING_MAX: Duration = Duration::from_secs(60);
/// A copy of the last block that comes sooner is the network's. The shortest time-out known is busybox's: 50 ms.
const COPY: Duration = Duration::from_millis(40);
/// After a block that found no room, a client that sends windows is told so soon where to go on.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);
/// The blocks of a window come one upon the other: when none has come for so long, the rest of the window is lost.
const TAIL_PAUSE: Duration = Duration::from_millis(250);
/// The last ACK is repeated on demand for so long: clients ask again after 5 s at the latest (tftp-hpa, atftp), and may need
/// to do so twice.
const DALLY: Duration = Duration::from_secs(12);

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockAccepted {
    /// It was taken.
    Yes,
    /// It was taken, but there is no room for many more: [`ReceiveSession::on_room`] says when there is again.
    NoRoom,
    /// There was no room for it.
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The OACK, or ACK 0, was sent; no DATA has come.
    Offered,
    Receiving,
    /// All blocks were taken; whether the file is kept is not known yet.
    Finishing,
    /// It is kept, and the client was told.
    Complete,
    Ended,
}

/// One upload.
#[derive(Clone, Debug)]
pub struct ReceiveSession {
    /// The size that the client has announced, in bytes.
    announced: Option<u64>,
    started: Timestamp,
    /// When the client was last heard with something new.
    heard: Timestamp,
    /// When an ACK was last sent.
    said: Timestamp,
    deadline: Timestamp,
    /// Every block up to this one was taken.
    taken: Block,
    /// What the last ACK says. The client's window follows it.
    acked: Block,
    negotiated: NegotiatedOptions,
    /// Time-out in seconds.
    rto: u8,
    phase: Phase,
    /// A gap was told already.
    gap: bool,
    /// The ACK of a window waits for the disk.
    held: bool,
}

impl ReceiveSession {
    /// An upload on these terms, and the first step to take.
    pub fn start(now: Timestamp, announced: Option<u64>, negotiated: NegotiatedOptions) -> (Self, Step) {
        let rto = negotiated.timeout.unwrap_or(RTO_FIRST);
        let reception = Self {
            announced,
            started: now,
            heard: now,
            said: now,
            deadline: now + seconds(rto),
            taken: Block(0),
            acked: Block(0),
            negotiated,
            rto,
            phase: Phase::Offered,
            gap: false,
            held: false,
        };
        let step = reception.offer();
        (reception, step)
    }

    /// RFC 1350, section 4: ACK 0 answers a WRQ; RFC 2347: an OACK does so if there are options.
    fn offer(&self) -> Step {
        if self.negotiated.oack { Step::SendOack } else { Step::SendAck }
    }

    /// DATA has come: the block with this number, modulo 65536, of `len` bytes, which are not more than the terms say.
    ///
    /// `take` is called if it is the next one, with whether it is the last.
    pub fn on_data(
        &mut self,
        now: Timestamp,
        wire: u16,
        len: usize,
        take: impl FnOnce(bool) -> BlockAccepted,
    ) -> Step {
        match self.phase {
            Phase::Ended => Step::Ignore(Ignored::Ended),
            Phase::Finishing => Step::Ignore(Ignored::DuplicateData),
            Phase::Complete if wire == self.taken.wire() => self.say_again(now),
            Phase::Complete => Step::Ignore(Ignored::Ended),
            Phase::Offered | Phase::Receiving => {
                // How many blocks are missing before this one; an old one seems to be far ahead.
                let missing = wire.wrapping_sub((self.taken + 1).wire());
                match missing {
                    0 => self.on_next(now, len < usize::from(self.negotiated.blksize), take),
                    _ if missing < self.negotiated.windowsize => self.on_gap(now),
                    _ if self.taken.0 > 0 && wire == self.taken.wire() => self.say_again(now),
                    _ => Step::Ignore(Ignored::DuplicateData),
                }
            }
        }
    }

    fn on_next(&mut self, now: Timestamp, last: bool, take: impl FnOnce(bool) -> BlockAccepted) -> Step {
        self.heard = now;
        self.phase = Phase::Receiving;
        let taken = take(last);
        if taken == BlockAccepted::No {
            if self.negotiated.windowsize > 1 {
                self.deadline = self.deadline.min(now + NO_ROOM_PAUSE);
                // The rest of the window is no news.
                self.gap = true;
            }
            return Step::Ignore(Ignored::NoRoom);
        }
        self.taken = self.taken + 1;
        self.rto = self.first_rto();
        self.deadline = now + seconds(self.rto);
        if last {
            self.phase = Phase::Finishing;
            self.deadline = now + FINISHING_MAX;
            Step::Wait
        } else if self.taken.0 - self.acked.0 >= u64::from(self.negotiated.windowsize) {
            self.gap = false;
            self.held = taken == BlockAccepted::NoRoom;
            if self.held { Step::Wait } else { self.say(now) }
        } else {
            self.deadline = now + TAIL_PAUSE;
            Step::Wait
        }
    }

    fn on_gap(&mut self, now: Timestamp) -> Step {
        if self.gap || self.held {
            return Step::Ignore(Ignored::GapInData);
        }
        self.phase = Phase::Receiving;
        self.gap = true;
        self.deadline = now + seconds(self.rto);
        self.say(now)
    }

    /// The last block has come again: our ACK may be lost.
    fn say_again(&mut self, now: Timestamp) -> Step {
        if self.held || now.since(self.said.max(self.heard)) < COPY {
            Step::Ignore(Ignored::DuplicateData)
        } else {
            self.say(now)
        }
    }

    fn say(&mut self, now: Timestamp) -> Step {
        self.acked = self.taken;
        self.held = false;
        self.said = now;
        Step::SendAck
    }

    /// There is room again for a window.
    pub fn on_room(&mut self, now: Timestamp) -> Step {
        if self.held && self.phase == Phase::Receiving { self.say(now) } else { Step::Wait }
    }

    /// The file is kept: [`Step::End`] is to be preceded by the last ACK.
    pub fn on_kept(&mut self, now: Timestamp) -> Step {
        if self.phase != Phase::Finishing {
            return Step::Ignore(Ignored::Ended);
        }
        self.say(now);
        self.phase = Phase::Complete;
        Step::End(Outcome::Complete)
    }

    /// The client says ERROR.
    pub fn on_error(&mut self, code: ErrorCode) -> Step {
        self.end(Outcome::Aborted(code))
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Timestamp) -> Step {
        if now < self.deadline {
            return Step::Wait;
        }
        let silent = match self.phase {
            Phase::Complete | Phase::Ended => return Step::Wait,
            Phase::Finishing => return self.end(Outcome::TimedOut),
            Phase::Offered => now.since(self.started) >= SILENCE_OFFERED.max(self.patience()),
            Phase::Receiving => now.since(self.heard) >= SILENCE.max(self.patience()),
        };
        if silent {
            return self.end(Outcome::TimedOut);
        }
        self.deadline = now + seconds(self.rto);
        self.rto = self.rto.saturating_mul(2).min(RTO_MAX.max(self.first_rto()));
        if self.phase == Phase::Offered {
            return self.offer();
        }
        self.gap = false;
        self.say(now)
    }

    /// A new request took this one's place.
    pub fn supersede(&mut self) -> Step {
        self.end(Outcome::Superseded)
    }

    /// Whether the client was never heard after its request, which may therefore be forged.
    pub fn is_unverified(&self) -> bool {
        self.phase == Phase::Offered
    }

    /// Another client needs the slot more, or the file cannot be kept.
    pub fn give_way(&mut self) -> Step {
        self.end(Outcome::TimedOut)
    }

    fn end(&mut self, outcome: Outcome) -> Step {
        if self.has_ended() {
            return Step::Ignore(Ignored::Ended);
        }
        self.phase = Phase::Ended;
        Step::End(outcome)
    }

    /// Whether it is over, for better or worse.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Complete | Phase::Ended)
    }

    fn first_rto(&self) -> u8 {
        self.negotiated.timeout.unwrap_or(RTO_FIRST)
    }

    /// With a client's long time-out, three of them.
    fn patience(&self) -> Duration {
        seconds(self.first_rto()) * 3
    }

    /// The last block that was taken: what an ACK says.
    pub fn taken(&self) -> Block {
        self.taken
    }

    /// When [`Self::on_time`] wants to be called.
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// The terms.
    pub fn negotiated(&self) -> &NegotiatedOptions {
        &self.negotiated
    }

    /// The size that the client has announced, in bytes.
    pub fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// When it began.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// How long after the end the client may still ask for the last ACK; `None` if there was none.
    pub fn dally(&self) -> Option<Duration> {
        (self.phase == Phase::Complete).then(|| DALLY.max(self.patience()))
    }

    /// Whether the same request again at `now` is a delayed copy of the one that began this upload: always before the
    /// first block, later only for a moment, since a machine that was reset may come back with the same port.
    pub fn is_same_session(&self, now: Timestamp) -> bool {
        const MOMENT: Duration = Duration::from_secs(1);
        self.phase == Phase::Offered || now.since(self.heard) < MOMENT
    }
}

#[cfg(test)]
mod tests;
