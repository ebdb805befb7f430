//! What a slot of the table holds: a transfer to a client, or one from it.

use std::time::Duration;

use super::packet::{ErrorCode, OackOptions};
use super::receive_session::ReceiveSession;
use super::send_session::{SendSession, Step};
use crate::time::Timestamp;

/// An ended transfer keeps its TIDs this long, so that late duplicates find silence instead of an error.
const DALLY: Duration = Duration::from_secs(2);

/// A transfer in either direction.
#[derive(Clone, Debug)]
pub enum Session {
    /// To the client.
    Sending(SendSession),
    /// From the client.
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
    /// See [`SendSession::on_error`].
    pub fn on_error(&mut self, code: ErrorCode) -> Step {
        either!(self, session => session.on_error(code))
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Timestamp) -> Step {
        either!(self, session => session.on_time(now))
    }

    /// A new request took this one's place.
    pub fn supersede(&mut self) -> Step {
        either!(self, session => session.supersede())
    }

    /// Another client needs the slot more.
    pub fn give_way(&mut self) -> Step {
        either!(self, session => session.give_way())
    }

    /// Whether the client was never heard after its request, which may therefore be forged.
    pub fn is_unverified(&self) -> bool {
        either!(self, session => session.is_unverified())
    }

    /// Whether the same request again at `now` is a delayed copy of the one that began this.
    pub fn is_same_session(&self, now: Timestamp) -> bool {
        either!(self, session => session.is_same_session(now))
    }

    /// The same request has come again; an upload's sender gets its answer by the timer anyhow.
    pub fn ask_again(&mut self, now: Timestamp) {
        if let Self::Sending(transfer) = self {
            transfer.ask_again(now);
        }
    }

    /// Whether it is over.
    pub fn has_ended(&self) -> bool {
        either!(self, session => session.has_ended())
    }

    /// When it began.
    pub fn started(&self) -> Timestamp {
        either!(self, session => session.started())
    }

    /// When [`Self::on_time`] wants to be called.
    pub fn deadline(&self) -> Timestamp {
        either!(self, session => session.deadline())
    }

    /// What the OACK says.
    pub fn granted(&self) -> OackOptions {
        match self {
            Self::Sending(transfer) => transfer.negotiated().granted(transfer.size()),
            Self::Receiving(upload_session) => {
                upload_session.negotiated().granted(upload_session.announced().unwrap_or(0))
            }
        }
    }

    /// How long its TIDs are kept after its end.
    pub(super) fn dally(&self) -> Duration {
        match self {
            Self::Sending(_) => DALLY,
            Self::Receiving(upload_session) => upload_session.dally().unwrap_or(DALLY),
        }
    }
}
