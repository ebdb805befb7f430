//! Requests to read and to write files: who is admitted, who waits, and who has waited long enough.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::record::end;
use super::uploads::UploadName;
use super::{Context, Host, OffloadState, Responder, Route};
use crate::counters::Counter;
use pxe_content::boot::{FileName, Refusal};
use pxe_proto::datagram::{Datagram, Link};
use pxe_proto::tftp::packet::{Control, ErrorCode, Request, RequestedOptions};
use pxe_proto::tftp::pending::{self, Dequeued, PendingEntry};
use pxe_proto::tftp::send_session::Outcome;
use pxe_proto::tftp::table::{Admission, Entry};
use pxe_proto::time::Timestamp;

/// What a request is about, as long as it has no slot.
#[derive(Debug)]
pub(super) struct PendingRequest {
    file: RequestKind,
    link: Link,
    /// The address that the client used.
    server: Ipv4Addr,
    requested: RequestedOptions,
}

/// Which file, and what shall become of it.
#[derive(Debug)]
pub(super) enum RequestKind {
    /// The client wants it.
    Read(FileName),
    /// The client has it; its size in bytes, if it says that.
    Write(UploadName, Option<u64>),
}

/// Places for requests that wait, where so many transfers are allowed. A flood of forged requests pushes a place's owner
/// out after as many requests as there are places: they shall suffice until a real client has asked again.
pub(super) fn waiting_places(transfers: usize) -> usize {
    transfers.clamp(1024, 4096)
}

impl Responder {
    pub(super) fn on_read(
        &mut self,
        now: Timestamp,
        datagram: &Datagram<'_>,
        request: &Request<'_>,
        host: &mut impl Host,
    ) {
        self.quirks.file_requested(datagram.link.peer);
        host.file_requested(datagram.link.peer);
        let name = match FileName::normalise(request.filename) {
            Ok(name) => name,
            Err(refusal) => return self.refuse_name(datagram, refusal, host),
        };
        self.ask(now, datagram, request, RequestKind::Read(name), host);
    }

    /// A request has come that makes sense: it gets a slot, or waits for one.
    pub(super) fn ask(
        &mut self,
        now: Timestamp,
        datagram: &Datagram<'_>,
        request: &Request<'_>,
        file: RequestKind,
        host: &mut impl Host,
    ) {
        let (link, server) = (datagram.link, self.reply_address(datagram));
        let wish = PendingRequest { file, link, server, requested: request.options };
        let (client, request) = (datagram.from, self.table.fingerprint(datagram.payload));
        if let Some(id) = self.table.of_client(client) {
            self.reclaim(id, host);
        }
        // While somebody waits there is no room: see [`Self::admit_waiting`]. So nobody overtakes.
        if !self.table.has_room() && !self.table.is_known(now, client, request) {
            self.wait(now, client, request, wish, host);
        } else {
            self.admit(now, client, request, &wish, host);
        }
    }

    fn refuse_name(&mut self, datagram: &Datagram<'_>, refusal: Refusal, host: &mut impl Host) {
        self.counters.count(refusal);
        self.refuse(datagram, &Control::error(refusal.code(), refusal.text()), host);
    }

    fn admit(
        &mut self,
        now: Timestamp,
        client: SocketAddrV4,
        request: u64,
        wish: &PendingRequest,
        host: &mut impl Host,
    ) {
        let context = Context {
            link: wish.link,
            server: wish.server,
            requested: wish.requested,
            image: None,
            upload: None,
            queued: false,
            offload_state: OffloadState::default(),
        };
        let counters = &mut self.counters;
        let replaced = |entry: &Entry<Context>, outcome: Option<Outcome>| {
            if let Some(outcome) = outcome {
                end(counters, entry, outcome, now, host);
            }
            host.close(entry.client, entry.port);
        };
        match self.table.admit(now, client, request, context, replaced) {
            Admission::Admitted(id) => match &wish.file {
                RequestKind::Read(name) => {
                    self.counters.count(Counter::Requests);
                    self.find(now, id, name, host);
                }
                RequestKind::Write(name, size) => self.find_place(now, id, name, *size, host),
            },
            Admission::Duplicate => self.counters.count(Counter::DuplicateRequest),
            Admission::Full => {
                self.counters.count(Counter::Full);
                self.refuse_full(client, wish.link, wish.server, host);
            }
        }
    }

    fn refuse_full(&self, client: SocketAddrV4, link: Link, server: Ipv4Addr, host: &mut impl Host) {
        let error = Control::error(ErrorCode::UNDEFINED, "too many transfers at once, try again");
        let from = SocketAddrV4::new(server, self.settings.ports.first);
        host.control(&Route { link, from, to: client }, error.as_bytes());
    }

    fn wait(
        &mut self,
        now: Timestamp,
        client: SocketAddrV4,
        request: u64,
        wish: PendingRequest,
        host: &mut impl Host,
    ) {
        let (link, server) = (wish.link, wish.server);
        match self.waiting.ask(now, client, request, wish) {
            pending::Enqueued::Waits => self.counters.count(Counter::Waited),
            pending::Enqueued::Displaces => {
                self.counters.count(Counter::Waited);
                self.counters.count(Counter::Forgotten);
            }
            pending::Enqueued::Again => self.counters.count(Counter::DuplicateRequest),
            pending::Enqueued::Changed => self.counters.count(Counter::WaitedChanged),
            pending::Enqueued::NoPlace => {
                self.counters.count(Counter::Full);
                self.refuse_full(client, link, server, host);
            }
        }
    }

    /// Admits those who wait, as far as there are slots. To be called after everything that may have freed one.
    pub(super) fn admit_waiting(&mut self, now: Timestamp, host: &mut impl Host) {
        while !self.waiting.is_empty() && (self.table.has_room() || self.make_room(now, host)) {
            let Some(PendingEntry { client, request, wish, .. }) = self.waiting.pop() else { return };
            self.counters.count(Counter::AdmittedLate);
            self.admit(now, client, request, &wish, host);
        }
    }

    /// Takes the slot of somebody who was never heard for somebody who has asked again.
    fn make_room(&mut self, now: Timestamp, host: &mut impl Host) -> bool {
        if !self.waiting.anyone_alive() {
            return false;
        }
        let Some((id, step)) = self.table.give_way(now) else { return false };
        self.counters.count(Counter::GaveWay);
        self.perform(now, id, step, host);
        true
    }

    /// Sees off those whose patience is over.
    pub(super) fn dismiss_waiting(&mut self, now: Timestamp, host: &mut impl Host) {
        while let Some(left) = self.waiting.expire(now) {
            match left {
                Dequeued::Refused(PendingEntry { client, wish, .. }) => {
                    self.counters.count(Counter::RefusedLate);
                    self.refuse_full(client, wish.link, wish.server, host);
                }
                Dequeued::Forgotten(_) => self.counters.count(Counter::Forgotten),
            }
        }
    }

    /// When those who wait want [`Responder::poll`] to be called.
    pub(super) fn waiting_deadline(&self) -> Option<Timestamp> {
        let room = if self.waiting.anyone_alive() { self.table.gives_way_at() } else { None };
        [room, self.waiting.next_deadline()].into_iter().flatten().min()
    }

    /// Requests that wait for a slot.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
