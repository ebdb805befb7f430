//! The state machine of a transfer to a client: each method takes an event and returns the next [`SessionAction`].
//! `receive_session` is the other direction.
//!
//! ```text
//!            RRQ with options            ACK 0               ACK of the last block
//!   (start) -------------------> Offered ------+--> Sending -----------------------> Ended
//!      |                                       |    ^     |
//!      |     RRQ without options               |    +-----+ time-out, or an ACK inside the window:
//!      +-------------------> Unverified -------+            pxed sends the window again
//!                                  ACK of block 1
//! ```
//!
//! These rules keep the network quiet:
//! - A duplicate ACK never triggers DATA (RFC 1123, section 4.2.3.1: the Sorcerer's Apprentice syndrome). It
//!   may bring the timer forward. With windows, one duplicate ACK in each window does so, because EDK2
//!   reports a lost first block that way. In lock-step, one duplicate ACK for each block does so, and only if
//!   it arrives so long after the block (four round trips, at least 50 ms) that the time-out of the client
//!   must have caused it: copies of ACKs that the network makes arrive sooner. For a block that was repeated
//!   already, and for the next one, duplicate ACKs change nothing: an answer to a repeat never leads to
//!   another repeat.
//! - An ACK inside the window means a loss (RFC 7440, section 4): pxed sends the window after it again, once.
//!   Until that window has been acknowledged to its end, such an ACK may also be the echo of a block that the
//!   client has received twice, as EDK2 makes them. It only moves the window, and the timer repeats what is
//!   lost again. Without this rule each echo would send a window whose blocks the client has already, which
//!   causes new echoes, to the end of the file.
//! - Only the timer repeats an OACK, and never after ACK 0: U-Boot would start again.
//! - A client that has acknowledged nothing gets few packets, since its address may be forged: see
//!   `unverified_peer`.

mod early_retransmit;
mod snapshot;
mod steady;
mod unverified_peer;
mod window;

use std::time::Duration;

pub use snapshot::{Heard, SendSnapshot};
pub use steady::SteadyState;

use super::Block;
use super::negotiation::NegotiatedOptions;
use super::packet::ErrorCode;
use crate::time::Timestamp;
use early_retransmit::EarlyRetransmit;
use window::Window;

/// Time-outs double up to this limit, in seconds.
pub(super) const RTO_MAX: u8 = 8;
/// The first time-out in seconds, unless the client requests another one (RFC 2349).
pub(super) const RTO_FIRST: u8 = 1;
/// A transfer ends if nothing new arrives from its client for this long, or for three of the time-outs that
/// the client requested, if that is longer.
pub const SILENCE: Duration = Duration::from_secs(45);
/// If every block was sent and only the last ACK is missing, this many repeats are enough: at 1, 2, 4, 8, 16,
/// 24 and 32 s. So GRUB, which never repeats an ACK, is served for 30 s here, too (clients.md, section 6,
/// line 26).
const REPEATS_OF_LAST: u8 = 7;

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransferOutcome {
    /// The last block was acknowledged.
    Complete,
    /// All blocks were sent, and the last ACK never arrived. Clients that start the file at once do not send
    /// it.
    CompleteUnconfirmed,
    /// The client wanted only the size of the file: it answered the OACK with ERROR 8 or 0.
    Probe,
    /// The client sent an ERROR with this code.
    Aborted(ErrorCode),
    /// The client sent nothing for too long. Also the outcome when pxed ends a transfer for lack of slots, or
    /// an upload that is not stored in time.
    TimedOut,
    /// A new request came from the same address and port of the client.
    Superseded,
}

/// Why an event of a known transfer changes nothing. The caller counts the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IgnoredEvent {
    /// An ACK of the block that was acknowledged last.
    DuplicateAck,
    /// An ACK of an older block or of a block that was not sent yet; also any ACK in an upload, or while the
    /// file is loading.
    StrayAck,
    /// An event of a transfer that has ended.
    Ended,
    /// DATA of a block that is accepted already, or of a block number outside the window.
    DuplicateData,
    /// DATA after a gap that an ACK has reported already.
    GapInData,
    /// DATA for which there is no room. The client sends it again.
    NoRoom,
}

/// What the caller must do after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionAction {
    /// Nothing but counting the reason.
    Ignore(IgnoredEvent),
    /// Nothing. The timer was early, or the event needs no packet.
    Wait,
    /// Send the OACK.
    SendOack,
    /// Send DATA from [`SendSession::unsent`] on.
    SendData,
    /// Send an ACK of [`ReceiveSession::taken`](super::receive_session::ReceiveSession::taken).
    SendAck,
    /// The transfer has ended.
    End(TransferOutcome),
}

/// Where a transfer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The OACK was sent; ACK 0 has not arrived. `oacks`: how often the timer has repeated the OACK.
    Offered {
        oacks: u8,
    },
    /// The first block was sent without an OACK, and the client has acknowledged nothing. `is_repeat_due`:
    /// the client has repeated its request, so pxed may send the block once more.
    Unverified {
        is_repeat_due: bool,
    },
    /// The client has acknowledged something, so its address is not forged.
    Sending,
    Ended,
}

/// How often the current window was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeats {
    /// Once. Only the ACK of such a window measures a round trip (Karn's algorithm).
    None,
    /// A part of it was sent before: an ACK inside the window showed a loss, or another process sent it.
    AfterLoss,
    /// The timer has sent it again. `times`: how often since the last new ACK. `is_asked_for`: the client has
    /// sent a duplicate ACK since the last repeat, so it is there and lacks the block.
    ByTimer { times: u8, is_asked_for: bool },
}

/// A transfer to a client.
#[derive(Clone, Debug)]
pub struct SendSession {
    /// The file's size in bytes.
    size: u64,
    negotiated: NegotiatedOptions,
    started: Timestamp,
    /// When the client last acknowledged something new; before the first ACK of a transfer without options,
    /// when it last sent its request.
    heard: Timestamp,
    /// When the current window, or the OACK, was sent.
    sent: Timestamp,
    deadline: Timestamp,
    window: Window,
    /// Blocks that were sent more than once.
    repeated_blocks: u32,
    /// The smoothed round trip in microseconds; 0 until it is measured.
    round_trip: u32,
    /// The time-out in seconds.
    rto: u8,
    phase: Phase,
    repeats: Repeats,
    early: EarlyRetransmit,
}

impl SendSession {
    /// Starts a transfer of `size` bytes with these options. Returns the first action: the OACK, or the first
    /// block.
    pub fn start(now: Timestamp, size: u64, negotiated: NegotiatedOptions) -> (Self, SessionAction) {
        let rto = negotiated.timeout.unwrap_or(RTO_FIRST);
        let mut transfer = Self {
            size,
            negotiated,
            started: now,
            heard: now,
            sent: now,
            deadline: now + seconds(rto),
            window: Window::new(),
            repeated_blocks: 0,
            round_trip: 0,
            rto,
            phase: Phase::Offered { oacks: 0 },
            repeats: Repeats::None,
            early: EarlyRetransmit::Allowed,
        };
        let action = if negotiated.oack {
            SessionAction::SendOack
        } else {
            transfer.phase = Phase::Unverified { is_repeat_due: false };
            transfer.open_window(now)
        };
        (transfer, action)
    }

    /// Handles an ACK. `wire` is the block number modulo 65536.
    pub fn on_ack(&mut self, now: Timestamp, wire: u16) -> SessionAction {
        match self.phase {
            Phase::Ended => SessionAction::Ignore(IgnoredEvent::Ended),
            Phase::Offered { oacks } if wire == 0 => {
                if self.negotiated.windowsize == 1 && oacks == 0 {
                    self.measure(now, Block(0));
                }
                self.progress(now);
                self.open_window(now)
            }
            Phase::Offered { .. } => SessionAction::Ignore(IgnoredEvent::StrayAck),
            Phase::Unverified { .. } | Phase::Sending => self.on_block_ack(now, wire),
        }
    }

    fn on_block_ack(&mut self, now: Timestamp, wire: u16) -> SessionAction {
        let previous = self.window.acknowledged();
        let acked = previous.at_or_after(wire);
        if acked == previous {
            self.on_duplicate_ack(now);
            return SessionAction::Ignore(IgnoredEvent::DuplicateAck);
        }
        if acked > self.window.highest() {
            return SessionAction::Ignore(IgnoredEvent::StrayAck);
        }
        self.measure(now, acked);
        let is_echo = self.repeats != Repeats::None && !self.window.ends_at(acked);
        self.progress(now);
        self.window.acknowledge(acked);
        if acked == self.last() {
            return self.end(TransferOutcome::Complete);
        }
        if is_echo { self.slide_window(now) } else { self.open_window(now) }
    }

    /// Handles an ERROR from the client.
    pub fn on_error(&mut self, code: ErrorCode) -> SessionAction {
        match self.phase {
            Phase::Ended => SessionAction::Ignore(IgnoredEvent::Ended),
            Phase::Offered { .. } if code == ErrorCode::OPTIONS || code == ErrorCode::UNDEFINED => {
                self.end(TransferOutcome::Probe)
            }
            _ => self.end(TransferOutcome::Aborted(code)),
        }
    }

    /// Handles a time-out: call it at [`Self::deadline`] or later. An early call returns [`SessionAction::Wait`].
    pub fn on_time(&mut self, now: Timestamp) -> SessionAction {
        if now < self.deadline {
            return SessionAction::Wait;
        }
        match self.phase {
            Phase::Ended => SessionAction::Wait,
            Phase::Offered { oacks } => self.repeat_oack(now, oacks),
            Phase::Unverified { is_repeat_due } => self.repeat_first_block(now, is_repeat_due),
            Phase::Sending => self.repeat_window(now),
        }
    }

    fn repeat_window(&mut self, now: Timestamp) -> SessionAction {
        let is_silent = now.since(self.heard) >= SILENCE.max(seconds(self.first_rto()) * 3);
        let (times, is_asked_for) = match self.repeats {
            Repeats::ByTimer { times, is_asked_for } => (times, is_asked_for),
            Repeats::None | Repeats::AfterLoss => (0, false),
        };
        if self.window.highest() == self.last() {
            // A client that has requested the last block since the last repeat lacks it.
            if is_silent && is_asked_for {
                return self.end(TransferOutcome::TimedOut);
            }
            if is_silent || times >= REPEATS_OF_LAST {
                return self.end(TransferOutcome::CompleteUnconfirmed);
            }
        } else if is_silent {
            return self.end(TransferOutcome::TimedOut);
        }
        let action = self.open_window(now);
        self.repeats = Repeats::ByTimer { times: times.saturating_add(1), is_asked_for: false };
        self.back_off(now);
        action
    }

    /// The blocks that the caller must send now: the first one, and how many.
    #[inline]
    pub fn unsent(&self) -> (Block, u64) {
        self.window.unsent()
    }

    /// Reports that the caller has sent the first `blocks` blocks of [`Self::unsent`].
    #[inline]
    pub fn sent(&mut self, blocks: u64) {
        let repeated = u32::try_from(self.window.sent(blocks)).unwrap_or(u32::MAX);
        self.repeated_blocks = self.repeated_blocks.saturating_add(repeated);
    }

    /// Ends the transfer because a new request of the same client replaces it.
    pub fn supersede(&mut self) -> SessionAction {
        match self.phase {
            Phase::Ended => SessionAction::Ignore(IgnoredEvent::Ended),
            Phase::Unverified { .. } | Phase::Sending if self.window.highest() == self.last() => {
                self.end(TransferOutcome::CompleteUnconfirmed)
            }
            _ => self.end(TransferOutcome::Superseded),
        }
    }

    /// Ends the transfer because pxed needs its slot for another client.
    pub fn give_way(&mut self) -> SessionAction {
        match self.phase {
            Phase::Ended => SessionAction::Ignore(IgnoredEvent::Ended),
            _ => self.end(TransferOutcome::TimedOut),
        }
    }

    fn end(&mut self, outcome: TransferOutcome) -> SessionAction {
        self.phase = Phase::Ended;
        self.window.close();
        SessionAction::End(outcome)
    }

    /// Handles an ACK that acknowledges something new.
    fn progress(&mut self, now: Timestamp) {
        self.heard = now;
        self.phase = Phase::Sending;
        self.rto = self.first_rto();
        self.early = EarlyRetransmit::after(self.repeats, self.is_lock_step());
        self.repeats = Repeats::None;
    }

    /// Starts the window after the acknowledged blocks.
    fn open_window(&mut self, now: Timestamp) -> SessionAction {
        let is_repeat = self.window.open(self.negotiated.windowsize, self.last());
        if is_repeat && self.repeats == Repeats::None {
            self.repeats = Repeats::AfterLoss;
        }
        self.sent = now;
        self.deadline = now + seconds(self.rto);
        SessionAction::SendData
    }

    /// Like [`Self::open_window`] while the window is a repeat: sends only blocks that were not sent since
    /// the repeat began.
    fn slide_window(&mut self, now: Timestamp) -> SessionAction {
        self.window.slide(self.negotiated.windowsize, self.last());
        self.repeats = Repeats::AfterLoss;
        self.sent = now;
        self.deadline = now + seconds(self.rto);
        SessionAction::SendData
    }

    fn back_off(&mut self, now: Timestamp) {
        self.deadline = now + seconds(self.rto);
        self.rto = self.rto.saturating_mul(2).min(RTO_MAX.max(self.first_rto()));
    }

    fn first_rto(&self) -> u8 {
        self.negotiated.timeout.unwrap_or(RTO_FIRST)
    }

    fn is_lock_step(&self) -> bool {
        self.negotiated.windowsize == 1
    }

    /// The last block. It is always shorter than the others, and empty if the size is a multiple of the block
    /// size (RFC 1350, section 6).
    pub fn last(&self) -> Block {
        Block(self.size / u64::from(self.negotiated.blksize) + 1)
    }

    /// When the caller must call [`Self::on_time`].
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// The options of this transfer.
    pub fn negotiated(&self) -> &NegotiatedOptions {
        &self.negotiated
    }

    /// The file's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// When the transfer started.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// Whether the transfer has ended.
    pub fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// The bytes of the file that the client has. The whole file if the transfer is complete, also without
    /// the last ACK; otherwise the acknowledged bytes.
    pub fn bytes(&self, outcome: TransferOutcome) -> u64 {
        match outcome {
            TransferOutcome::Complete | TransferOutcome::CompleteUnconfirmed => self.size,
            _ => self.window.first().offset(self.negotiated.blksize).min(self.size),
        }
    }

    /// The number of DATA packets with blocks that had been sent before.
    pub fn repeated_blocks(&self) -> u64 {
        u64::from(self.repeated_blocks)
    }
}

pub(super) fn seconds(count: u8) -> Duration {
    Duration::from_secs(u64::from(count))
}

#[cfg(test)]
mod tests;
