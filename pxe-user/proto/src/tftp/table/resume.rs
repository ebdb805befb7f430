//! Resumes transfers of another pxed process.

use std::net::SocketAddrV4;

use super::super::send_session::SendSession;
use super::super::session::Session;
use super::{Entry, Id, Table};

impl<C> Table<C> {
    /// Takes a slot for a transfer, which keeps its TIDs. `None` if `port` belongs to another worker, if the
    /// client has a transfer here already, or if there is no room.
    pub fn resume(
        &mut self,
        client: SocketAddrV4,
        port: u16,
        context: C,
        transfer: SendSession,
    ) -> Option<Id> {
        if !self.ports.contains(port) || self.by_client.contains_key(&client) || !self.has_room() {
            return None;
        }
        let deadline = transfer.deadline();
        // The other process hashed the request with another key, so its fingerprint is unknown: a late copy
        // of the request counts as a new request.
        let session = Some(Session::Sending(transfer));
        let id = self.occupy(Entry { client, port, context, request: 0, session })?;
        self.timers.set(id.slot, deadline);
        if self.is_unverified(id) {
            self.note_unheard(id);
        }
        Some(id)
    }
}
