//! The state machine of an upload: the other direction of [`send_session`](super::send_session). Each method
//! takes an event and returns the next [`SessionAction`].
//!
//! The caller stores the blocks: [`ReceiveSession::on_data`] passes each new block to a closure,
//! [`ReceiveSession::on_room`] reports that the disk has caught up, and [`ReceiveSession::on_kept`] that the
//! whole file is stored.
//!
//! ```text
//!            WRQ, file is open       DATA 1            short DATA             file is stored
//!   (start) ----------------> Offered ----> Receiving -----------> Finishing ---------------> Complete
//!            OACK, or ACK 0                  ^   |  ACK of each window        last ACK
//!                                            +---+
//! ```
//!
//! These rules keep the network quiet:
//! - pxed acknowledges a block only when it has accepted the block, and the last block only when the whole
//!   file is stored. A block for which there is no room counts as lost.
//! - While the disk is behind, the ACK of a window waits for it, at most one time-out. This bounds the blocks
//!   that wait for the disk, and no block is lost.
//! - A gap in a window causes an immediate ACK of the last block before it (RFC 7440, section 4), but only
//!   one. If the window after that ACK has a gap too, the timer sends the next ACK. With an ACK for each gap,
//!   the client would send a window for each ACK.
//! - Of the old blocks, only the last accepted one is acknowledged again, and only if it arrives so late that
//!   a time-out of the client must have caused it: copies that the network makes arrive sooner. So the ACKs
//!   of one block cannot multiply, not even with a client that has the Sorcerer's Apprentice syndrome
//!   (RFC 1123, section 4.2.3.1).
//! - The client may need the last ACK again after the end (RFC 1350, section 6): see
//!   [`ReceiveSession::dally`].

use std::time::Duration;

use super::Block;
use super::negotiation::NegotiatedOptions;
use super::packet::ErrorCode;
use super::send_session::{
    IgnoredEvent, RTO_FIRST, RTO_MAX, SILENCE, SessionAction, TransferOutcome, seconds,
};
use crate::time::Timestamp;

/// pxed drops an upload whose client sends nothing for this long after its request, because the request may
/// be forged. The clients with the longest interval repeat their requests every 5 s (tftp-hpa, atftp).
const SILENCE_OFFERED: Duration = Duration::from_secs(20);
/// If the file is not stored within this time after its last block, the disk hangs, and the upload ends.
const FINISHING_MAX: Duration = Duration::from_secs(60);
/// A copy of the last block that arrives sooner than this was made by the network. The shortest time-out of a
/// client is that of busybox, 50 ms.
const COPY: Duration = Duration::from_millis(40);
/// After a block for which there was no room, pxed sends an ACK this soon to a client that sends windows. The
/// ACK names the block from which the client must continue.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);
/// The blocks of a window arrive back to back. If no block arrives for this long, the rest of the window is
/// lost, and pxed acknowledges what it has.
const TAIL_PAUSE: Duration = Duration::from_millis(250);
/// How long pxed repeats the last ACK if the client repeats its last block. Clients repeat it after at most
/// 5 s (tftp-hpa, atftp), and may have to do so twice.
const DALLY: Duration = Duration::from_secs(12);

/// Whether the caller has accepted a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockAccepted {
    /// The block is accepted.
    Yes,
    /// The block is accepted, but many blocks wait for the disk. The ACK of the window waits for
    /// [`ReceiveSession::on_room`].
    NoRoom,
    /// The block is dropped. The client sends it again.
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The OACK or ACK 0 was sent; no DATA has arrived.
    Offered,
    Receiving,
    /// All blocks are accepted; the file is not stored yet.
    Finishing,
    /// The file is stored, and the last ACK was sent.
    Complete,
    Ended,
}

/// An upload from a client.
#[derive(Clone, Debug)]
pub struct ReceiveSession {
    /// The size in the request (`tsize`), in bytes.
    announced: Option<u64>,
    started: Timestamp,
    /// When the client last sent the block that is next, also if it was dropped for lack of room.
    heard: Timestamp,
    /// When the last ACK was sent, or the first reply to the request.
    ack_sent_at: Timestamp,
    deadline: Timestamp,
    /// All blocks up to this one are accepted.
    taken: Block,
    /// The block in the last ACK. The window of the client starts after it.
    acked: Block,
    negotiated: NegotiatedOptions,
    /// The current time-out in seconds.
    rto: u8,
    phase: Phase,
    /// An ACK has reported a gap. Further blocks behind a gap cause no ACK.
    is_gap_reported: bool,
    /// The ACK of a window waits until the disk has caught up.
    is_ack_delayed: bool,
}

impl ReceiveSession {
    /// Starts an upload with these options. `announced` is the size in the request, in bytes. Returns the
    /// first action: the OACK or ACK 0.
    pub fn start(
        now: Timestamp,
        announced: Option<u64>,
        negotiated: NegotiatedOptions,
    ) -> (Self, SessionAction) {
        let rto = negotiated.timeout.unwrap_or(RTO_FIRST);
        let reception = Self {
            announced,
            started: now,
            heard: now,
            ack_sent_at: now,
            deadline: now + seconds(rto),
            taken: Block(0),
            acked: Block(0),
            negotiated,
            rto,
            phase: Phase::Offered,
            is_gap_reported: false,
            is_ack_delayed: false,
        };
        let action = reception.offer();
        (reception, action)
    }

    /// ACK 0 answers a WRQ (RFC 1350, section 4); with options an OACK does (RFC 2347).
    fn offer(&self) -> SessionAction {
        if self.negotiated.oack { SessionAction::SendOack } else { SessionAction::SendAck }
    }

    /// Handles DATA: the block whose number modulo 65536 is `wire`, with `len` bytes. The caller must check
    /// that `len` is at most the negotiated block size.
    ///
    /// If the block is the next one, this calls `take` with whether the block is the last one of the file.
    pub fn on_data(
        &mut self,
        now: Timestamp,
        wire: u16,
        len: usize,
        take: impl FnOnce(bool) -> BlockAccepted,
    ) -> SessionAction {
        match self.phase {
            Phase::Ended => SessionAction::Ignore(IgnoredEvent::Ended),
            Phase::Finishing => SessionAction::Ignore(IgnoredEvent::DuplicateData),
            Phase::Complete if wire == self.taken.wire() => self.acknowledge_again(now),
            Phase::Complete => SessionAction::Ignore(IgnoredEvent::Ended),
            Phase::Offered | Phase::Receiving => {
                // How many blocks are missing before this one. For an old block the difference wraps, and is
                // larger than a window.
                let missing = wire.wrapping_sub((self.taken + 1).wire());
                match missing {
                    0 => self.on_next(now, len < usize::from(self.negotiated.blksize), take),
                    _ if missing < self.negotiated.windowsize => self.on_gap(now),
                    _ if self.taken.0 > 0 && wire == self.taken.wire() => self.acknowledge_again(now),
                    _ => SessionAction::Ignore(IgnoredEvent::DuplicateData),
                }
            }
        }
    }

    fn on_next(
        &mut self,
        now: Timestamp,
        last: bool,
        take: impl FnOnce(bool) -> BlockAccepted,
    ) -> SessionAction {
        self.heard = now;
        self.phase = Phase::Receiving;
        let taken = take(last);
        if taken == BlockAccepted::No {
            if self.negotiated.windowsize > 1 {
                self.deadline = self.deadline.min(now + NO_ROOM_PAUSE);
                // The blocks after it in this window are a known gap and need no ACK.
                self.is_gap_reported = true;
            }
            return SessionAction::Ignore(IgnoredEvent::NoRoom);
        }
        self.taken = self.taken + 1;
        self.rto = self.first_rto();
        self.deadline = now + seconds(self.rto);
        if last {
            self.phase = Phase::Finishing;
            self.deadline = now + FINISHING_MAX;
            SessionAction::Wait
        } else if self.taken.0 - self.acked.0 >= u64::from(self.negotiated.windowsize) {
            self.is_gap_reported = false;
            self.is_ack_delayed = taken == BlockAccepted::NoRoom;
            if self.is_ack_delayed { SessionAction::Wait } else { self.say(now) }
        } else {
            self.deadline = now + TAIL_PAUSE;
            SessionAction::Wait
        }
    }

    fn on_gap(&mut self, now: Timestamp) -> SessionAction {
        if self.is_gap_reported || self.is_ack_delayed {
            return SessionAction::Ignore(IgnoredEvent::GapInData);
        }
        self.phase = Phase::Receiving;
        self.is_gap_reported = true;
        self.deadline = now + seconds(self.rto);
        self.say(now)
    }

    /// Handles a repeat of the last accepted block: the ACK may have been lost.
    fn acknowledge_again(&mut self, now: Timestamp) -> SessionAction {
        if self.is_ack_delayed || now.since(self.ack_sent_at.max(self.heard)) < COPY {
            SessionAction::Ignore(IgnoredEvent::DuplicateData)
        } else {
            self.say(now)
        }
    }

    fn say(&mut self, now: Timestamp) -> SessionAction {
        self.acked = self.taken;
        self.is_ack_delayed = false;
        self.ack_sent_at = now;
        SessionAction::SendAck
    }

    /// Handles the report that the disk has caught up. Returns [`SessionAction::SendAck`] if an ACK waits for it.
    pub fn on_room(&mut self, now: Timestamp) -> SessionAction {
        if self.is_ack_delayed && self.phase == Phase::Receiving {
            self.say(now)
        } else {
            SessionAction::Wait
        }
    }

    /// Handles the report that the file is stored. Before the caller carries out the returned [`SessionAction::End`],
    /// it must send the last ACK, that of [`Self::taken`].
    pub fn on_kept(&mut self, now: Timestamp) -> SessionAction {
        if self.phase != Phase::Finishing {
            return SessionAction::Ignore(IgnoredEvent::Ended);
        }
        self.say(now);
        self.phase = Phase::Complete;
        SessionAction::End(TransferOutcome::Complete)
    }

    /// Handles an ERROR from the client, which ends the upload.
    pub fn on_error(&mut self, code: ErrorCode) -> SessionAction {
        self.end(TransferOutcome::Aborted(code))
    }

    /// Handles a time-out: call it at [`Self::deadline`] or later. An early call returns [`SessionAction::Wait`].
    pub fn on_time(&mut self, now: Timestamp) -> SessionAction {
        if now < self.deadline {
            return SessionAction::Wait;
        }
        let silent = match self.phase {
            Phase::Complete | Phase::Ended => return SessionAction::Wait,
            Phase::Finishing => return self.end(TransferOutcome::TimedOut),
            Phase::Offered => now.since(self.started) >= SILENCE_OFFERED.max(self.patience()),
            Phase::Receiving => now.since(self.heard) >= SILENCE.max(self.patience()),
        };
        if silent {
            return self.end(TransferOutcome::TimedOut);
        }
        self.deadline = now + seconds(self.rto);
        self.rto = self.rto.saturating_mul(2).min(RTO_MAX.max(self.first_rto()));
        if self.phase == Phase::Offered {
            return self.offer();
        }
        self.is_gap_reported = false;
        self.say(now)
    }

    /// Ends the upload because a new request of the same client replaces it.
    pub fn supersede(&mut self) -> SessionAction {
        self.end(TransferOutcome::Superseded)
    }

    /// Whether the client has sent no DATA of its first window since its request. The source address of such
    /// a request may be forged.
    pub fn is_unverified(&self) -> bool {
        self.phase == Phase::Offered
    }

    /// Ends the upload because pxed needs its slot for another client, or because the file cannot be stored.
    pub fn give_way(&mut self) -> SessionAction {
        self.end(TransferOutcome::TimedOut)
    }

    fn end(&mut self, outcome: TransferOutcome) -> SessionAction {
        if self.has_ended() {
            return SessionAction::Ignore(IgnoredEvent::Ended);
        }
        self.phase = Phase::Ended;
        SessionAction::End(outcome)
    }

    /// Whether the upload has ended: the file is stored, or the upload was broken off.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Complete | Phase::Ended)
    }

    fn first_rto(&self) -> u8 {
        self.negotiated.timeout.unwrap_or(RTO_FIRST)
    }

    /// Three time-outs. The limits on silence are at least this long, for clients that request a long
    /// time-out.
    fn patience(&self) -> Duration {
        seconds(self.first_rto()) * 3
    }

    /// The last accepted block: the number in the next ACK.
    pub fn taken(&self) -> Block {
        self.taken
    }

    /// When the caller must call [`Self::on_time`].
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// The options of this upload.
    pub fn negotiated(&self) -> &NegotiatedOptions {
        &self.negotiated
    }

    /// The size in the request, in bytes; `None` if the request has no valid `tsize`.
    pub fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// When the upload started.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// How long after the end pxed repeats the last ACK on request; `None` if the file was not stored.
    pub fn dally(&self) -> Option<Duration> {
        (self.phase == Phase::Complete).then(|| DALLY.max(self.patience()))
    }

    /// Whether an identical request that arrives at `now` is a delayed copy of the one that started this
    /// upload.
    ///
    /// Until the first block it always is. Later it is for one second only, since a machine that was reset
    /// may send the same request from the same port.
    pub fn is_same_session(&self, now: Timestamp) -> bool {
        const MOMENT: Duration = Duration::from_secs(1);
        self.phase == Phase::Offered || now.since(self.heard) < MOMENT
    }
}

#[cfg(test)]
mod tests;
