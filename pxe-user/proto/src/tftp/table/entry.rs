//! The entry of a transfer in a table.

use std::net::SocketAddrV4;

use super::super::receive_session::ReceiveSession;
use super::super::send_session::SendSession;
use super::super::session::Session;
use crate::time::Timestamp;

/// The state of a transfer in the table, beside its session. `C` is the data of the caller (the file, the
/// link).
#[derive(Debug)]
pub struct Entry<C> {
    /// The address and port (TID) of the client.
    pub client: SocketAddrV4,
    /// The port (TID) of pxed.
    pub port: u16,
    /// The data of the caller.
    pub context: C,
    pub(super) request: u64,
    /// `None` until the file is loaded, or opened in the inbox.
    pub(super) session: Option<Session>,
}

impl<C> Entry<C> {
    /// The session in either direction; `None` until the file is ready.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// The session of a transfer to the client; `None` until the file is loaded, or if this is an upload.
    pub fn transfer(&self) -> Option<&SendSession> {
        match &self.session {
            Some(Session::Sending(transfer)) => Some(transfer),
            _ => None,
        }
    }

    /// The session of an upload; `None` until the inbox has opened the file, or if this is a transfer to the
    /// client.
    pub fn upload_session(&self) -> Option<&ReceiveSession> {
        match &self.session {
            Some(Session::Receiving(upload_session)) => Some(upload_session),
            _ => None,
        }
    }

    /// Whether the transfer has ended. Its slot is freed when the timer expires, or earlier if another
    /// transfer needs it.
    pub(super) fn dallies(&self) -> bool {
        self.session.as_ref().is_some_and(Session::has_ended)
    }

    pub(super) fn is_copy(&self, now: Timestamp, request: u64) -> bool {
        let same = || self.session.as_ref().is_none_or(|session| session.is_same_session(now));
        self.request == request && same()
    }

    /// Returns [`Self::transfer`] and the data of the caller, both mutable.
    pub fn parts_mut(&mut self) -> (Option<&mut SendSession>, &mut C) {
        let transfer = match &mut self.session {
            Some(Session::Sending(transfer)) => Some(transfer),
            _ => None,
        };
        (transfer, &mut self.context)
    }
}
