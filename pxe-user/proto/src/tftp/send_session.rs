//! One transfer as a state machine: events in, what to send out.
//!
//! ```text
//!            RRQ with options             ACK 0                     ACK of the last block
//!   (start) ------------------> Offered -------> Sending ... Sending ---------------------> Ended
//!      \___ RRQ without options ________________/   ^  |
//!                                                   |  | time-out, or an ACK inside the window: the window again
//!                                                   +--+
//! ```
//!
//! The rules that keep a network quiet:
//! - A duplicate ACK never triggers DATA (RFC 1123, section 4.2.3.1: the Sorcerer's Apprentice). In a transfer with
//!   windows it only brings the timer forward, once a window, since EDK2 says so that it misses the first block. In
//!   lock-step it does so once a block, and only if it comes so long after the block (four round trips, at least 50 ms)
//!   that it must be due to the client's own time-out: copies of ACKs that the network makes come sooner. Neither a block
//!   that was repeated already is hastened, nor the next one: an answer to a repeat never leads to another repeat.
//! - An ACK inside the window is a loss (RFC 7440, section 4): the window after it is sent once more, once. Until that
//!   has been acknowledged to its end, such an ACK may as well be an echo of a block that the client has twice, as EDK2
//!   makes them: it only moves the window on, and what is lost again is the timer's affair. Without this rule each
//!   echo would send a window, whose blocks the client has already, which makes new echoes, to the end of the file.
//! - An OACK is repeated by the timer only, and never after ACK 0: U-Boot would start again.
//! - Who has acknowledged nothing is sent little, since the address may be forged: see `unheard`.

mod early_retransmit;
mod snapshot;
mod steady;
mod unverified_peer;

use std::time::Duration;

pub use snapshot::{Heard, SendSnapshot};
pub use steady::SteadyState;

use super::Block;
use super::negotiation::NegotiatedOptions;
use super::packet::ErrorCode;
use crate::time::Timestamp;

/// Time-outs are doubled up to this, in seconds.
pub(super) const RTO_MAX: u8 = 8;
/// First time-out in seconds, unless the client asked for another (RFC 2349).
pub(super) const RTO_FIRST: u8 = 1;
/// A client that is silent this long in the middle of a transfer has gone.
pub const SILENCE: Duration = Duration::from_secs(45);
/// When every block was sent and only the last ACK is missing, this many repeats suffice: at 1, 2, 4, 8, 16, 24 and 32 s,
/// so that GRUB, which never repeats an ACK, is served for 30 s here, too (clients.md, section 6, line 26).
const REPEATS_OF_LAST: u8 = 7;
/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The last block was acknowledged.
    Complete,
    /// All blocks were sent, the last ACK never came: clients that jump into what they loaded do that.
    CompleteUnconfirmed,
    /// The client asked for the file's size only, and said so by ERROR 8 or 0 in answer to the OACK.
    Probe,
    /// The client gave up.
    Aborted(ErrorCode),
    /// The client vanished.
    TimedOut,
    /// A new request came from the client's same port.
    Superseded,
}

/// Why a packet of a known transfer changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// An ACK of the block that was acknowledged last.
    DuplicateAck,
    /// An ACK of a block from before that, or of one that was not sent yet.
    StrayAck,
    /// Anything for a transfer that has ended.
    Ended,
    /// DATA of a block that was taken already.
    DuplicateData,
    /// DATA behind a gap that the client knows of.
    GapInData,
    /// DATA for which there was no room: the client will send it again.
    NoRoom,
}

/// What is to be done after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Ignore(Ignored),
    /// Nothing yet: the timer was early.
    Wait,
    /// Send the OACK.
    SendOack,
    /// Send DATA from [`SendSession::unsent`] on.
    SendData,
    /// Send an ACK of [`ReceiveSession::taken`](super::receive_session::ReceiveSession::taken).
    SendAck,
    /// The transfer is over.
    End(Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The OACK was sent; ACK 0 has not come.
    Offered,
    Sending,
    Ended,
}

/// One transfer.
#[derive(Clone, Debug)]
pub struct SendSession {
    size: u64,
    started: Timestamp,
    /// When the client was last heard with something new.
    heard: Timestamp,
    /// When the window that is on its way was sent, for measuring the round trip.
    sent: Timestamp,
    deadline: Timestamp,
    /// First block that is not acknowledged.
    first: Block,
    /// First block that is to be sent next: up to here the window is on its way.
    next: Block,
    /// End of the window, exclusive.
    window_end: Block,
    /// Highest block that was ever sent.
    highest: Block,
    repeated_blocks: u32,
    /// Smoothed round trip, in microseconds; 0 until measured.
    round_trip: u32,
    /// Time-out in seconds.
    rto: u8,
    negotiated: NegotiatedOptions,
    /// Of the OACK or the window, since the client was heard; while the first block is out, what it has earned of these.
    repeats: u8,
    phase: Phase,
    /// The window is a repeat: its ACK measures nothing (Karn).
    repeated: bool,
    /// The client has acknowledged something, so its address is no forgery.
    touched: bool,
    /// No duplicate ACK may bring the timer forward any more in this window: one has, or they cannot be trusted.
    retransmitted_early: bool,
}

impl SendSession {
    /// A transfer of `size` bytes on these terms, and the first step to take.
    pub fn start(now: Timestamp, size: u64, negotiated: NegotiatedOptions) -> (Self, Step) {
        let rto = negotiated.timeout.unwrap_or(RTO_FIRST);
        let mut transfer = Self {
            size,
            started: now,
            heard: now,
            sent: now,
            deadline: now + seconds(rto),
            first: Block(1),
            next: Block(1),
            window_end: Block(1),
            highest: Block(0),
            repeated_blocks: 0,
            round_trip: 0,
            rto,
            negotiated,
            repeats: 0,
            phase: Phase::Offered,
            repeated: false,
            touched: false,
            retransmitted_early: false,
        };
        let step = if negotiated.oack { Step::SendOack } else { transfer.open_window(now) };
        (transfer, step)
    }

    /// The client acknowledges the block with this number, modulo 65536.
    pub fn on_ack(&mut self, now: Timestamp, wire: u16) -> Step {
        match self.phase {
            Phase::Ended => Step::Ignore(Ignored::Ended),
            Phase::Offered if wire == 0 => {
                if self.negotiated.windowsize == 1 {
                    self.measure(now, Block(0));
                }
                self.progress(now);
                self.open_window(now)
            }
            Phase::Offered => Step::Ignore(Ignored::StrayAck),
            Phase::Sending => self.on_block_ack(now, wire),
        }
    }

    fn on_block_ack(&mut self, now: Timestamp, wire: u16) -> Step {
        let previous = Block(self.first.0 - 1);
        let acked = previous.at_or_after(wire);
        if acked == previous {
            self.hasten(now);
            return Step::Ignore(Ignored::DuplicateAck);
        }
        if acked > self.highest {
            return Step::Ignore(Ignored::StrayAck);
        }
        self.measure(now, acked);
        let echo = self.repeated && acked + 1 < self.window_end;
        self.progress(now);
        self.first = acked + 1;
        if acked == self.last() {
            return self.end(Outcome::Complete);
        }
        if echo { self.slide_window(now) } else { self.open_window(now) }
    }

    /// The client says ERROR.
    pub fn on_error(&mut self, code: ErrorCode) -> Step {
        match self.phase {
            Phase::Ended => Step::Ignore(Ignored::Ended),
            Phase::Offered if code == ErrorCode::OPTIONS || code == ErrorCode::UNDEFINED => {
                self.end(Outcome::Probe)
            }
            Phase::Offered | Phase::Sending => self.end(Outcome::Aborted(code)),
        }
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Timestamp) -> Step {
        if now < self.deadline || self.phase == Phase::Ended {
            return Step::Wait;
        }
        match self.phase {
            Phase::Offered => self.offer_again(now),
            _ if !self.touched => self.first_block_again(now),
            _ => self.window_again(now),
        }
    }

    fn window_again(&mut self, now: Timestamp) -> Step {
        let all_sent = self.highest == self.last();
        let silent = now.since(self.heard) >= SILENCE.max(seconds(self.first_rto()) * 3);
        match all_sent {
            // It has asked since the last repeat (`stay_patient`; alone, repeats are more by now): its last word was that it lacks
            // the block.
            true if silent && self.repeats == 1 => return self.end(Outcome::TimedOut),
            true if silent || self.repeats >= REPEATS_OF_LAST => {
                return self.end(Outcome::CompleteUnconfirmed);
            }
            false if silent => return self.end(Outcome::TimedOut),
            _ => {}
        }
        let step = self.open_window(now);
        self.repeated = true;
        self.back_off(now);
        step
    }

    /// Blocks that are to be sent now: the first one and how many.
    pub fn unsent(&self) -> (Block, u64) {
        (self.next, self.window_end.0.saturating_sub(self.next.0))
    }

    /// `blocks` of [`Self::unsent`] have been sent.
    pub fn sent(&mut self, blocks: u64) {
        let end = Block((self.next.0 + blocks).min(self.window_end.0));
        let fresh = end.0.saturating_sub(self.next.0.max(self.highest.0 + 1));
        let repeated = u32::try_from(end.0 - self.next.0 - fresh).unwrap_or(u32::MAX);
        self.repeated_blocks = self.repeated_blocks.saturating_add(repeated);
        self.next = end;
        self.highest = self.highest.max(Block(end.0 - 1));
    }

    /// A new request took this one's place.
    pub fn supersede(&mut self) -> Step {
        match self.phase {
            Phase::Ended => Step::Ignore(Ignored::Ended),
            _ if self.phase == Phase::Sending && self.highest == self.last() => {
                self.end(Outcome::CompleteUnconfirmed)
            }
            _ => self.end(Outcome::Superseded),
        }
    }

    /// Another client needs the slot more.
    pub fn give_way(&mut self) -> Step {
        match self.phase {
            Phase::Ended => Step::Ignore(Ignored::Ended),
            _ => self.end(Outcome::TimedOut),
        }
    }

    fn end(&mut self, outcome: Outcome) -> Step {
        self.phase = Phase::Ended;
        // What found no room until now is not sent any more.
        self.window_end = self.next;
        Step::End(outcome)
    }

    fn progress(&mut self, now: Timestamp) {
        self.heard = now;
        self.touched = true;
        self.phase = Phase::Sending;
        self.rto = self.first_rto();
        self.repeats = 0;
        self.calm_down();
        self.repeated = false;
    }

    /// Puts the window behind the acknowledged blocks.
    fn open_window(&mut self, now: Timestamp) -> Step {
        self.phase = Phase::Sending;
        // After a loss inside the window, blocks go out a second time: their ACK measures nothing.
        self.repeated |= self.first <= self.highest;
        self.next = self.first;
        self.window_end =
            Block((self.first.0 + u64::from(self.negotiated.windowsize)).min(self.last().0 + 1));
        self.sent = now;
        self.deadline = now + seconds(self.rto);
        Step::SendData
    }

    /// The same while the window is a repeat: only what was not sent since then is sent.
    fn slide_window(&mut self, now: Timestamp) -> Step {
        let next = self.next.max(self.first);
        let step = self.open_window(now);
        self.next = next;
        self.repeated = true;
        step
    }

    fn back_off(&mut self, now: Timestamp) {
        self.repeats = self.repeats.saturating_add(1);
        self.deadline = now + seconds(self.rto);
        self.rto = self.rto.saturating_mul(2).min(RTO_MAX.max(self.first_rto()));
    }

    fn first_rto(&self) -> u8 {
        self.negotiated.timeout.unwrap_or(RTO_FIRST)
    }

    /// The last block: always shorter than the others, and empty if the size is a multiple (RFC 1350, section 6).
    pub fn last(&self) -> Block {
        Block(self.size / u64::from(self.negotiated.blksize) + 1)
    }

    /// When [`Self::on_time`] wants to be called.
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// The terms.
    pub fn negotiated(&self) -> &NegotiatedOptions {
        &self.negotiated
    }

    /// The file's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// When it began.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// Whether it is over.
    pub fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Bytes of the file that the client has acknowledged, or was sent if it never confirmed the end.
    pub fn bytes(&self, outcome: Outcome) -> u64 {
        match outcome {
            Outcome::Complete | Outcome::CompleteUnconfirmed => self.size,
            _ => self.first.offset(self.negotiated.blksize).min(self.size),
        }
    }

    /// DATA packets that were sent more than once.
    pub fn repeated_blocks(&self) -> u64 {
        u64::from(self.repeated_blocks)
    }
}

pub(super) fn seconds(count: u8) -> Duration {
    Duration::from_secs(u64::from(count))
}

#[cfg(test)]
mod tests;
