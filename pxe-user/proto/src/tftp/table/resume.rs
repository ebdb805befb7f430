//! A transfer that another process of ours began takes a slot here.

use std::net::SocketAddrV4;

use super::super::send_session::SendSession;
use super::super::session::Session;
use super::{Entry, Id, Table};

impl<C> Table<C> {
    /// Takes a slot for a transfer under the TIDs that it has already. `None` if our port is another worker's, the client has a
    /// transfer here, or there is no room.
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
        // Its request was hashed with another key: a late copy of it counts as a new one.
        let session = Some(Session::Sending(transfer));
        let id = self.occupy(Entry { client, port, context, request: 0, session })?;
        self.timers.set(id.slot, deadline);
        if self.is_unverified(id) {
            self.note_unheard(id);
        }
        Some(id)
    }
}
