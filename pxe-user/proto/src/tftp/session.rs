//! The session in a slot of the [table](super::table): a transfer to a client ([`SendSession`]), or an upload
//! from a client ([`ReceiveSession`]).

use std::time::Duration;

use super::packet::{ErrorCode, OackOptions};
use super::receive_session::ReceiveSession;
use super::send_session::{SendSession, SessionAction};
use crate::time::Timestamp;

/// How long an ended transfer keeps its TIDs. During this time pxed ignores late duplicates; without the
/// entry it would answer them with an ERROR.
const DALLY: Duration = Duration::from_secs(2);

/// A session in either direction.
#[derive(Clone, Debug)]
pub enum Session {
    /// pxed sends a file to the client (RRQ).
    Sending(SendSession),
    /// The client sends a file to pxed (WRQ).
    Receiving(ReceiveSession),
}

macro_rules! either {
    ($self:ident, $session:ident => $what:expr) => {
        match $self {
            Self::Sending($session) => $what,
            Self::Receiving($session) => $what,
        }
    };
}

impl Session {
    /// Handles an ERROR from the client. See [`SendSession::on_error`].
    pub fn on_error(&mut self, code: ErrorCode) -> SessionAction {
        either!(self, session => session.on_error(code))
    }

    /// Handles a time-out: call it at [`Self::deadline`] or later. An early call returns [`SessionAction::Wait`].
    pub fn on_time(&mut self, now: Timestamp) -> SessionAction {
        either!(self, session => session.on_time(now))
    }

    /// Ends the session because a new request of the same client replaces it.
    pub fn supersede(&mut self) -> SessionAction {
        either!(self, session => session.supersede())
    }

    /// Ends the session because pxed needs its slot for another client, or because an upload cannot be
    /// stored.
    pub fn give_way(&mut self) -> SessionAction {
        either!(self, session => session.give_way())
    }

    /// Whether the client has sent no valid ACK or DATA since its request. The source address of such a
    /// request may be forged.
    pub fn is_unverified(&self) -> bool {
        either!(self, session => session.is_unverified())
    }

    /// Whether an identical request that arrives at `now` is a delayed copy of the one that started this
    /// session.
    pub fn is_same_session(&self, now: Timestamp) -> bool {
        either!(self, session => session.is_same_session(now))
    }

    /// Handles a copy of the request that started this session. An upload needs nothing here, because its
    /// timer repeats the reply to the request in any case.
    pub fn ask_again(&mut self, now: Timestamp) {
        if let Self::Sending(transfer) = self {
            transfer.ask_again(now);
        }
    }

    /// Whether the session has ended.
    pub fn has_ended(&self) -> bool {
        either!(self, session => session.has_ended())
    }

    /// When the session started.
    pub fn started(&self) -> Timestamp {
        either!(self, session => session.started())
    }

    /// When the caller must call [`Self::on_time`].
    pub fn deadline(&self) -> Timestamp {
        either!(self, session => session.deadline())
    }

    /// Returns the options in the OACK. Not for a session that another process started: see
    /// [`SendSession::resume`].
    pub fn granted(&self) -> OackOptions {
        match self {
            Self::Sending(transfer) => transfer.negotiated().granted(transfer.size()),
            Self::Receiving(upload_session) => {
                upload_session.negotiated().granted(upload_session.announced().unwrap_or(0))
            }
        }
    }

    /// How long the session keeps its TIDs after its end.
    pub(super) fn dally(&self) -> Duration {
        match self {
            Self::Sending(_) => DALLY,
            Self::Receiving(upload_session) => upload_session.dally().unwrap_or(DALLY),
        }
    }
}
