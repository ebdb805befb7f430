//! Requests to read and to write files: who is admitted, who waits, and who has waited long enough.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::record::end;
use super::uploads::UploadName;
use super::{Carrier, Context, Host, Responder, Route};
use crate::tally::Other;
use pxe_content::boot::{FileName, Refusal};
use pxe_proto::datagram::{Datagram, Link};
use pxe_proto::tftp::packet::{Asked, Control, ErrorCode, Request};
use pxe_proto::tftp::table::{Admission, Entry};
use pxe_proto::tftp::transfer::Outcome;
use pxe_proto::tftp::waiting::{self, Left, Waiter};
use pxe_proto::time::Timestamp;

/// What a request is about, as long as it has no slot.
#[derive(Debug)]
pub(super) struct Wish {
    file: Wanted,
    link: Link,
    /// The address that the client used.
    server: Ipv4Addr,
    asked: Asked,
}

/// Which file, and what shall become of it.
#[derive(Debug)]
pub(super) enum Wanted {
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
        self.habits.understood(datagram.link.peer);
        host.understood(datagram.link.peer);
        let name = match FileName::normalise(request.filename) {
            Ok(name) => name,
            Err(refusal) => return self.refuse_name(datagram, refusal, host),
        };
        self.ask(now, datagram, request, Wanted::Read(name), host);
    }

    /// A request has come that makes sense: it gets a slot, or waits for one.
    pub(super) fn ask(
        &mut self,
        now: Timestamp,
        datagram: &Datagram<'_>,
        request: &Request<'_>,
        file: Wanted,
        host: &mut impl Host,
    ) {
        let (link, server) = (datagram.link, self.reply_address(datagram));
        let wish = Wish { file, link, server, asked: request.options };
        let (client, request) = (datagram.from, self.table.fingerprint(datagram.payload));
        if let Some(id) = self.table.of_client(client) {
            self.take_back(id, host);
        }
        // While somebody waits there is no room: see [`Self::admit_waiting`]. So nobody overtakes.
        if !self.table.has_room() && !self.table.is_known(now, client, request) {
            self.wait(now, client, request, wish, host);
        } else {
            self.admit(now, client, request, &wish, host);
        }
    }

    fn refuse_name(&mut self, datagram: &Datagram<'_>, refusal: Refusal, host: &mut impl Host) {
        self.tally.count(refusal);
        self.refuse(datagram, &Control::error(refusal.code(), refusal.text()), host);
    }

    fn admit(
        &mut self,
        now: Timestamp,
        client: SocketAddrV4,
        request: u64,
        wish: &Wish,
        host: &mut impl Host,
    ) {
        let context = Context {
            link: wish.link,
            server: wish.server,
            asked: wish.asked,
            image: None,
            upload: None,
            queued: false,
            carrier: Carrier::default(),
        };
        let tally = &mut self.tally;
        let replaced = |entry: &Entry<Context>, outcome: Option<Outcome>| {
            if let Some(outcome) = outcome {
                end(tally, entry, outcome, now, host);
            }
            host.close(entry.client, entry.port);
        };
        match self.table.admit(now, client, request, context, replaced) {
            Admission::Admitted(id) => match &wish.file {
                Wanted::Read(name) => {
                    self.tally.count(Other::Requests);
                    self.find(now, id, name, host);
                }
                Wanted::Write(name, size) => self.find_place(now, id, name, *size, host),
            },
            Admission::Duplicate => self.tally.count(Other::DuplicateRequest),
            Admission::Full => {
                self.tally.count(Other::Full);
                self.refuse_full(client, wish.link, wish.server, host);
            }
        }
    }

    fn refuse_full(&self, client: SocketAddrV4, link: Link, server: Ipv4Addr, host: &mut impl Host) {
        let error = Control::error(ErrorCode::UNDEFINED, "too many transfers at once, try again");
        let from = SocketAddrV4::new(server, self.settings.ports.first);
        host.control(&Route { link, from, to: client }, error.as_bytes());
    }

    fn wait(&mut self, now: Timestamp, client: SocketAddrV4, request: u64, wish: Wish, host: &mut impl Host) {
        let (link, server) = (wish.link, wish.server);
        match self.waiting.ask(now, client, request, wish) {
            waiting::Asked::Waits => self.tally.count(Other::Waited),
            waiting::Asked::Displaces => {
                self.tally.count(Other::Waited);
                self.tally.count(Other::Forgotten);
            }
            waiting::Asked::Again => self.tally.count(Other::DuplicateRequest),
            waiting::Asked::Changed => self.tally.count(Other::WaitedChanged),
            waiting::Asked::NoPlace => {
                self.tally.count(Other::Full);
                self.refuse_full(client, link, server, host);
            }
        }
    }

    /// Admits those who wait, as far as there are slots. To be called after everything that may have freed one.
    pub(super) fn admit_waiting(&mut self, now: Timestamp, host: &mut impl Host) {
        while !self.waiting.is_empty() && (self.table.has_room() || self.make_room(now, host)) {
            let Some(Waiter { client, request, wish, .. }) = self.waiting.pop() else { return };
            self.tally.count(Other::AdmittedLate);
            self.admit(now, client, request, &wish, host);
        }
    }

    /// Takes the slot of somebody who was never heard for somebody who has asked again.
    fn make_room(&mut self, now: Timestamp, host: &mut impl Host) -> bool {
        if !self.waiting.anyone_alive() {
            return false;
        }
        let Some((id, step)) = self.table.give_way(now) else { return false };
        self.tally.count(Other::GaveWay);
        self.perform(now, id, step, host);
        true
    }

    /// Sees off those whose patience is over.
    pub(super) fn dismiss_waiting(&mut self, now: Timestamp, host: &mut impl Host) {
        while let Some(left) = self.waiting.expire(now) {
            match left {
                Left::Refused(Waiter { client, wish, .. }) => {
                    self.tally.count(Other::RefusedLate);
                    self.refuse_full(client, wish.link, wish.server, host);
                }
                Left::Forgotten(_) => self.tally.count(Other::Forgotten),
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
