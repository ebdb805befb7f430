//! What a table keeps of each transfer.

use std::net::SocketAddrV4;

use super::super::receive_session::ReceiveSession;
use super::super::send_session::SendSession;
use super::super::session::Session;
use crate::time::Timestamp;

/// What the table keeps beside the state machine; `C` is what the caller wants to find again (file, link).
#[derive(Debug)]
pub struct Entry<C> {
    /// The client's TID.
    pub client: SocketAddrV4,
    /// Our TID.
    pub port: u16,
    /// The caller's own.
    pub context: C,
    pub(super) request: u64,
    /// `None` while the file is being looked for.
    pub(super) session: Option<Session>,
}

impl<C> Entry<C> {
    /// The state machine, once the file is there, whichever the direction.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// The state machine of a transfer to the client, once the file is there.
    pub fn transfer(&self) -> Option<&SendSession> {
        match &self.session {
            Some(Session::Sending(transfer)) => Some(transfer),
            _ => None,
        }
    }

    /// The state machine of an upload, once there is a place for it.
    pub fn upload_session(&self) -> Option<&ReceiveSession> {
        match &self.session {
            Some(Session::Receiving(upload_session)) => Some(upload_session),
            _ => None,
        }
    }

    /// The transfer has ended; the slot is freed when the timer rings, or earlier if it is needed.
    pub(super) fn dallies(&self) -> bool {
        self.session.as_ref().is_some_and(Session::has_ended)
    }

    pub(super) fn is_copy(&self, now: Timestamp, request: u64) -> bool {
        let same = || self.session.as_ref().is_none_or(|session| session.is_same_session(now));
        self.request == request && same()
    }

    /// The state machine of a transfer to the client, once the file is there, and the caller's own.
    pub fn parts_mut(&mut self) -> (Option<&mut SendSession>, &mut C) {
        let transfer = match &mut self.session {
            Some(Session::Sending(transfer)) => Some(transfer),
            _ => None,
        };
        (transfer, &mut self.context)
    }
}
