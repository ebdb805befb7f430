//! The TFTP service: requests on port 69, and transfers on our TIDs.
//!
//! | module | contents |
//! |---|---|
//! | [`requests`] | requests that have no slot yet |
//! | [`context`] | what the service stores for each transfer |
//! | [`uploads`] | files that clients write |
//! | [`offload`] | transfers that the kernel continues |
//! | [`backlog`] | transfers with blocks that found no room in the send queue |
//! | [`progress`], [`record`] | reports to the fleet and the counters |
//! | [`snapshot`] | transfers that another process resumes |
//!
//! [`TftpService`] owns the table of transfers. It applies each event to a transfer's state machine, and
//! carries out the [`SessionAction`] that the state machine returns.

mod backlog;
mod context;
mod offload;
mod progress;
mod record;
mod requests;
mod snapshot;
mod uploads;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use pxe_common::Service;

use super::core::Core;
use super::{Blocks, Events, Host, KernelOffload, Route, Transmit};
use crate::counters::Counter;
use backlog::Backlog;
use context::{Context, peer, route, sending};
use offload::count_data;
use progress::ProgressReporter;
use pxe_content::boot::{FileName, Image, Lookup, Refusal};
use pxe_fleet::event::Event;
use pxe_proto::datagram::{Datagram, Link};
use pxe_proto::tftp::negotiation::NegotiatedOptions;
use pxe_proto::tftp::packet::{Control, ErrorCode, Mode, Packet, Request};
use pxe_proto::tftp::pending::{Dequeued, Enqueued, PendingEntry, PendingQueue};
use pxe_proto::tftp::receive_session::ReceiveSession;
use pxe_proto::tftp::send_session::{SendSession, SessionAction, TransferOutcome};
use pxe_proto::tftp::table::{Admission, Entry, Expired, Id, Table, TidPorts};
use pxe_proto::time::Timestamp;
use record::end;
use requests::{PendingRequest, RequestKind, pending_places};
pub use snapshot::TransferSnapshot;
pub use uploads::{
    BLKSIZE_MAX as UPLOAD_BLKSIZE_MAX, BLOCKS_MAX as UPLOAD_BLOCKS_MAX, InboxReply, UploadRefusal,
};

/// Memory for each slot. The table has two slots for each transfer, and the backlog holds one [`Id`] for each
/// transfer.
const SLOT_BYTES: usize = Table::<Context>::SLOT_BYTES + size_of::<Id>() / 2;

/// The state of 4096 transfers takes 2 MiB at most.
const _: () = assert!(SLOT_BYTES <= 256);

/// All transfers of one worker, and the requests that wait for a slot.
#[derive(Debug)]
pub(super) struct TftpService {
    table: Table<Context>,
    pending: PendingQueue<PendingRequest>,
    backlog: Backlog,
    progress: ProgressReporter,
}

impl TftpService {
    /// A service for `transfers` transfers at a time. All memory is allocated now.
    pub(super) fn new(transfers: usize, ports: TidPorts) -> Self {
        Self {
            table: Table::new(transfers, ports),
            pending: PendingQueue::new(pending_places(transfers)),
            backlog: Backlog::new(transfers),
            progress: ProgressReporter::default(),
        }
    }

    /// Handles a datagram to port 69. Returns true if it is an RRQ, so that a machine has asked for a file.
    pub(super) fn on_request(
        &mut self,
        core: &mut Core,
        now: Timestamp,
        datagram: &Datagram<'_>,
        host: &mut impl Host,
    ) -> bool {
        if !core.settings.is_client(Service::TftpRequest, datagram) {
            core.counters.count(Counter::BadSource);
            return false;
        }
        // RFC 1123, section 4.2.3.5: a server silently ignores a request that was broadcast.
        if core.settings.is_to_many(datagram.to) {
            core.counters.count(Counter::Broadcast);
            return false;
        }
        let address = *datagram.from.ip();
        if !core.admits_tftp(now, address) {
            core.counters.count(Counter::TftpRate);
            return false;
        }
        // No ERROR is sent either, so that clients that are not allowed learn nothing about this server.
        let neighbour = || datagram.link.neighbour().or_else(|| host.neighbour(address));
        if !core.sources.access.load().allows(address, neighbour) {
            core.counters.count(Counter::NotAllowed);
            return false;
        }
        let (counter, code, text) = match Packet::parse(datagram.payload) {
            Ok(Packet::Write(_)) if core.settings.uploads.is_none() => {
                (Counter::Write, ErrorCode::DENIED, "this server is read only")
            }
            Ok(Packet::Read(request) | Packet::Write(request)) if request.mode != Mode::Octet => {
                (Counter::Mode, ErrorCode::ILLEGAL, "only octet (binary) mode is served")
            }
            Ok(Packet::Read(request)) => {
                self.on_read(core, now, datagram, &request, host);
                return true;
            }
            Ok(Packet::Write(request)) => {
                self.on_write(core, now, datagram, &request, host);
                return false;
            }
            Ok(_) => {
                core.counters.count(Counter::TftpUnexpected);
                return false;
            }
            Err(malformed) => {
                core.counters.count(malformed);
                return false;
            }
        };
        core.counters.count(counter);
        refuse(core, datagram, &Control::error(code, text), host);
        false
    }

    fn on_read(
        &mut self,
        core: &mut Core,
        now: Timestamp,
        datagram: &Datagram<'_>,
        request: &Request<'_>,
        host: &mut impl Host,
    ) {
        host.file_requested(datagram.link.peer);
        match FileName::normalise(request.filename) {
            Ok(name) => self.ask(core, now, datagram, request, RequestKind::Read(name), host),
            Err(refusal) => {
                core.counters.count(refusal);
                refuse(core, datagram, &Control::error(refusal.code(), refusal.text()), host);
            }
        }
    }

    fn on_write(
        &mut self,
        core: &mut Core,
        now: Timestamp,
        datagram: &Datagram<'_>,
        request: &Request<'_>,
        host: &mut impl Host,
    ) {
        match uploads::parse_name(request.filename) {
            Ok(name) => {
                self.ask(core, now, datagram, request, RequestKind::Write(name, request.size), host);
            }
            Err(refusal) => {
                let (counter, code, text) = refusal.report();
                core.counters.count(counter);
                refuse(core, datagram, &Control::error(code, text), host);
            }
        }
    }

    /// Gives a valid request a slot, or puts it into the queue.
    fn ask(
        &mut self,
        core: &mut Core,
        now: Timestamp,
        datagram: &Datagram<'_>,
        request: &Request<'_>,
        file: RequestKind,
        host: &mut impl Host,
    ) {
        let (link, server) = (datagram.link, core.reply_address(datagram));
        let pending = PendingRequest { file, link, server, requested: request.options };
        let (client, fingerprint) = (datagram.from, self.table.fingerprint(datagram.payload));
        if let Some(id) = self.table.of_client(client) {
            self.reclaim(core, id, host);
        }
        // While requests wait, the table has no room (see `admit_pending`), so no request overtakes another.
        if self.table.has_room() || self.table.is_known(now, client, fingerprint) {
            self.admit(core, now, client, fingerprint, &pending, host);
        } else {
            self.enqueue(core, now, client, fingerprint, pending, host);
        }
    }

    fn admit(
        &mut self,
        core: &mut Core,
        now: Timestamp,
        client: SocketAddrV4,
        fingerprint: u64,
        pending: &PendingRequest,
        host: &mut impl Host,
    ) {
        let counters = &mut core.counters;
        let replaced = |entry: &Entry<Context>, outcome: Option<TransferOutcome>| {
            if let Some(outcome) = outcome {
                end(counters, entry, outcome, now, host);
            }
            host.close(entry.client, entry.port);
        };
        match self.table.admit(now, client, fingerprint, pending.context(), replaced) {
            Admission::Admitted(id) => match &pending.file {
                RequestKind::Read(name) => {
                    core.counters.count(Counter::Requests);
                    self.look_up(core, now, id, name, host);
                }
                RequestKind::Write(name, size) => {
                    core.counters.count(Counter::Uploads);
                    if let Err(refusal) = uploads::open(core, &mut self.table, id, name, *size, host) {
                        self.refuse_upload(core, now, id, refusal, host);
                    }
                }
            },
            Admission::Duplicate => core.counters.count(Counter::DuplicateRequest),
            Admission::Full => {
                core.counters.count(Counter::Full);
                refuse_full(core, client, pending.link, pending.server, host);
            }
        }
    }

    fn enqueue(
        &mut self,
        core: &mut Core,
        now: Timestamp,
        client: SocketAddrV4,
        fingerprint: u64,
        pending: PendingRequest,
        host: &mut impl Transmit,
    ) {
        let (link, server) = (pending.link, pending.server);
        let counter = match self.pending.ask(now, client, fingerprint, pending) {
            Enqueued::Waits => Counter::Waited,
            Enqueued::Displaces => {
                core.counters.count(Counter::Forgotten);
                Counter::Waited
            }
            Enqueued::Again => Counter::DuplicateRequest,
            Enqueued::Changed => Counter::WaitedChanged,
            Enqueued::NoPlace => {
                refuse_full(core, client, link, server, host);
                Counter::Full
            }
        };
        core.counters.count(counter);
    }

    /// Admits requests that wait, as long as there are slots. The caller must call this after every event
    /// that may have freed a slot.
    pub(super) fn admit_pending(&mut self, core: &mut Core, now: Timestamp, host: &mut impl Host) {
        while !self.pending.is_empty() && (self.table.has_room() || self.make_room(core, now, host)) {
            let Some(PendingEntry { client, request, context, .. }) = self.pending.pop() else { return };
            core.counters.count(Counter::AdmittedLate);
            self.admit(core, now, client, request, &context, host);
        }
    }

    /// Ends a transfer whose client has sent nothing since its request, if a client in the queue has repeated
    /// its request.
    fn make_room(&mut self, core: &mut Core, now: Timestamp, host: &mut impl Host) -> bool {
        if !self.pending.has_repeated() {
            return false;
        }
        let Some((id, action)) = self.table.give_way(now) else { return false };
        core.counters.count(Counter::GaveWay);
        self.perform(core, now, id, action, host);
        true
    }

    /// Removes requests from the queue that have waited too long.
    fn expire_pending(&mut self, core: &mut Core, now: Timestamp, host: &mut impl Transmit) {
        while let Some(dequeued) = self.pending.expire(now) {
            match dequeued {
                Dequeued::Refused(PendingEntry { client, context, .. }) => {
                    core.counters.count(Counter::RefusedLate);
                    refuse_full(core, client, context.link, context.server, host);
                }
                Dequeued::Forgotten(_) => core.counters.count(Counter::Forgotten),
            }
        }
    }

    fn look_up(&mut self, core: &mut Core, now: Timestamp, id: Id, name: &FileName, host: &mut impl Host) {
        // The guard of arc-swap must be dropped first, because the code below borrows `core` mutably.
        let lookup = core.sources.catalogue.load().lookup(name);
        match lookup {
            Lookup::Ready(image) => self.start(core, now, id, image, host),
            Lookup::Refused(refusal) => self.refuse_file(core, id, name, refusal, host),
            Lookup::NotLoaded => {
                let client = self.table.get(id).map(|entry| (peer(entry), entry.context.server));
                if !client.is_some_and(|(peer, server)| host.load(id, name, peer, server)) {
                    core.counters.count(Counter::LoaderBusy);
                    self.give_up(id, ErrorCode::UNDEFINED, "too many requests at once, try again", host);
                }
            }
        }
    }

    /// Handles the loader's reply to [`Storage::load`](super::Storage::load).
    pub(super) fn loaded(
        &mut self,
        core: &mut Core,
        now: Timestamp,
        id: Id,
        name: &FileName,
        file: Result<Arc<Image>, Refusal>,
        host: &mut impl Host,
    ) {
        match file {
            Ok(image) => self.start(core, now, id, image, host),
            Err(refusal) => self.refuse_file(core, id, name, refusal, host),
        }
    }

    fn refuse_file(
        &mut self,
        core: &mut Core,
        id: Id,
        name: &FileName,
        refusal: Refusal,
        host: &mut impl Host,
    ) {
        core.counters.count(refusal);
        if let Some(entry) = self.table.get(id) {
            host.record(Event::Refused { peer: peer(entry), name: Box::new(*name), refusal });
        }
        self.give_up(id, refusal.code(), refusal.text(), host);
    }

    /// Starts a transfer whose file is loaded.
    fn start(&mut self, core: &mut Core, now: Timestamp, id: Id, image: Arc<Image>, host: &mut impl Host) {
        let Some(entry) = self.table.get_mut(id) else { return };
        let limits = core.sources.limits(&core.settings, *entry.client.ip(), &entry.context.link);
        let negotiated = NegotiatedOptions::grant(&entry.context.requested, &limits);
        let size = image.bytes().len() as u64;
        entry.context.image = Some(image);
        if self.open(core, id, host)
            && let Some(action) = self.table.start(now, id, size, negotiated)
        {
            self.perform(core, now, id, action, host);
        }
    }

    /// Starts an upload whose file the inbox has opened.
    fn start_upload(&mut self, core: &mut Core, now: Timestamp, id: Id, host: &mut impl Host) {
        let Some(entry) = self.table.get(id) else { return };
        let (negotiated, size) = uploads::negotiate(core, entry);
        if self.open(core, id, host)
            && let Some(action) = self.table.receive(now, id, size, negotiated)
        {
            self.perform(core, now, id, action, host);
        }
    }

    /// Directs the transfer's packets to this worker. If the kernel's table is full, the transfer ends with
    /// an ERROR.
    fn open(&mut self, core: &mut Core, id: Id, host: &mut impl Transmit) -> bool {
        let opened = self.table.get(id).is_some_and(|entry| host.open(entry.client, entry.port, id.slot()));
        if !opened {
            core.counters.count(Counter::KernelFull);
            self.give_up(id, ErrorCode::UNDEFINED, "too many transfers at once, try again", host);
        }
        opened
    }

    /// Frees the slot of a request that gets no file, and sends the client an ERROR.
    fn give_up(&mut self, id: Id, code: ErrorCode, text: &str, host: &mut impl Transmit) {
        if let Some(entry) = self.table.refuse(id) {
            host.control(&route(&entry), Control::error(code, text).as_bytes());
        }
    }

    /// Handles a datagram to one of our TIDs.
    pub(super) fn on_transfer(
        &mut self,
        core: &mut Core,
        now: Timestamp,
        datagram: &Datagram<'_>,
        host: &mut impl Host,
    ) {
        let (client, port) = (datagram.from, datagram.to.port());
        let packet = match Packet::parse(datagram.payload) {
            Ok(packet @ (Packet::Ack(_) | Packet::Data(..) | Packet::Error(_))) => packet,
            Ok(_) => return core.counters.count(Counter::TftpUnexpected),
            Err(malformed) => return core.counters.count(malformed),
        };
        let Some(id) = self.table.find(client, port) else {
            core.counters.count(Counter::UnknownTid);
            return refuse_stranger(core, datagram, matches!(packet, Packet::Error(_)), host);
        };
        self.reclaim(core, id, host);
        let action = match packet {
            Packet::Ack(block) => self.table.on_ack(now, id, block),
            Packet::Error(code) => self.table.on_error(now, id, code),
            Packet::Data(block, bytes) => {
                return match uploads::on_data(core, &mut self.table, now, (id, block, bytes), host) {
                    Ok(Some(action)) => self.perform(core, now, id, action, host),
                    Ok(None) => {}
                    Err(refusal) => self.refuse_upload(core, now, id, refusal, host),
                };
            }
            _ => return,
        };
        self.perform(core, now, id, action, host);
        let Some(entry) = self.table.get_mut(id) else { return };
        let (client, port) = (entry.client, entry.port);
        let (Some(session), context) = entry.parts_mut() else { return };
        context.offload.report_arrival(session, host);
        if let Some(image) = context.image.as_ref().filter(|_| !context.queued) {
            context.offload.offer(session, (id, client, port, image), &mut core.counters, host);
        }
    }

    /// Handles the inbox's reply to [`Storage::put`](super::Storage::put) or
    /// [`Storage::store`](super::Storage::store).
    pub(super) fn on_inbox_reply(
        &mut self,
        core: &mut Core,
        now: Timestamp,
        id: Id,
        reply: InboxReply,
        host: &mut impl Host,
    ) {
        if self.table.get(id).is_none() {
            // The upload has ended meanwhile.
            return;
        }
        if reply == InboxReply::Open {
            return self.start_upload(core, now, id, host);
        }
        match reply.apply(&mut self.table, now, id) {
            Ok(action) => {
                // The last ACK confirms that the file is stored. `SessionAction::End` sends no packet by itself.
                if reply == InboxReply::Kept && matches!(action, SessionAction::End(_)) {
                    self.acknowledge(id, host);
                }
                self.perform(core, now, id, action, host);
            }
            Err(refusal) => self.refuse_upload(core, now, id, refusal, host),
        }
    }

    /// Sends an ACK of the last block of an upload that pxed has accepted.
    fn acknowledge(&self, id: Id, host: &mut impl Transmit) {
        let Some(entry) = self.table.get(id) else { return };
        if let Some(taken) = entry.upload_session().map(ReceiveSession::taken) {
            host.control(&route(entry), Control::ack(taken).as_bytes());
        }
    }

    /// Ends an upload that the inbox refuses, before or during the transfer, and sends the client an ERROR.
    fn refuse_upload(
        &mut self,
        core: &mut Core,
        now: Timestamp,
        id: Id,
        refusal: UploadRefusal,
        host: &mut impl Transmit,
    ) {
        let (counter, code, text) = refusal.report();
        let Some(entry) = self.table.get_mut(id) else { return };
        let Some(session) = entry.upload_session() else {
            core.counters.count(counter);
            return self.give_up(id, code, text, host);
        };
        if session.has_ended() {
            return;
        }
        core.counters.count(counter);
        entry.context.upload = None;
        host.control(&route(entry), Control::error(code, text).as_bytes());
        self.table.abort(now, id);
    }

    /// Carries out a action of a state machine.
    fn perform(
        &mut self,
        core: &mut Core,
        now: Timestamp,
        id: Id,
        action: SessionAction,
        host: &mut impl Host,
    ) {
        match action {
            SessionAction::Wait => {}
            SessionAction::Ignore(ignored) => core.counters.count(ignored),
            SessionAction::SendData => self.send(core, id, host),
            SessionAction::SendOack => {
                let Some(entry) = self.table.get(id) else { return };
                let Some(session) = entry.session() else { return };
                host.control(&route(entry), Control::oack(&session.granted()).as_bytes());
            }
            SessionAction::SendAck => self.acknowledge(id, host),
            SessionAction::End(outcome) => {
                if let Some(entry) = self.table.get_mut(id) {
                    end(&mut core.counters, entry, outcome, now, host);
                    entry.context.upload = None;
                }
            }
        }
    }

    /// Sends the blocks of a transfer's window that were not sent yet, as far as there is room.
    fn send(&mut self, core: &mut Core, id: Id, host: &mut impl Transmit) {
        let Some(entry) = self.table.get_mut(id) else { return };
        let Some((route, transfer, context)) = sending(entry) else { return };
        let (first, count) = transfer.unsent();
        let Some(image) = &context.image else { return };
        let blksize = transfer.negotiated().blksize;
        let sent = host.data(&route, &Blocks { image, blksize, first, count });
        transfer.sent(sent);
        context.offload.sent_here(transfer.highest());
        count_data(&mut core.counters, transfer, first, sent);
        if sent < count && !context.queued {
            context.queued = true;
            core.counters.count(Counter::SendBusy);
            self.backlog.push(id);
        }
    }

    fn reclaim(&mut self, core: &mut Core, id: Id, host: &mut impl KernelOffload) {
        if let Some((Some(session), context)) = self.table.get_mut(id).map(Entry::parts_mut) {
            context.offload.reclaim(id, session, &mut core.counters, host);
        }
    }

    /// Handles every timer that is due, and sends what found no room in the send queue before.
    pub(super) fn poll(&mut self, core: &mut Core, now: Timestamp, host: &mut impl Host) {
        for _ in 0..self.backlog.due(now) {
            let Some(id) = self.backlog.pop() else { break };
            if let Some(entry) = self.table.get_mut(id) {
                entry.context.queued = false;
                self.send(core, id, host);
            }
        }
        while let Some(expired) = {
            let counters = &mut core.counters;
            self.table.expire(now, |id, entry| {
                if let (Some(session), context) = entry.parts_mut() {
                    context.offload.before_time_out(now, id, session, counters, host);
                }
            })
        } {
            match expired {
                Expired::Action(id, action) => {
                    if matches!(
                        action,
                        SessionAction::SendData | SessionAction::SendOack | SessionAction::SendAck
                    ) {
                        core.counters.count(Counter::Timeouts);
                    }
                    self.perform(core, now, id, action, host);
                }
                Expired::Freed(entry) => host.close(entry.client, entry.port),
                Expired::NotLoaded(entry) => {
                    core.counters.count(Counter::LoaderBusy);
                    let error = Control::error(ErrorCode::UNDEFINED, "too many requests at once, try again");
                    host.control(&route(&entry), error.as_bytes());
                }
            }
        }
        self.admit_pending(core, now, host);
        self.expire_pending(core, now, host);
    }

    /// When [`Self::poll`] must be called next. `None` if no timer is set.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let room = if self.pending.has_repeated() { self.table.gives_way_at() } else { None };
        let pending = self.pending.next_deadline();
        [self.backlog.deadline(), self.table.next_deadline(), room, pending].into_iter().flatten().min()
    }

    /// Reports the progress of transfers that have run for a while.
    pub(super) fn report_progress(&mut self, now: Timestamp, host: &mut (impl KernelOffload + Events)) {
        self.progress.report(now, &self.table, host);
    }

    /// Returns snapshots of all transfers, for another process to resume.
    pub(super) fn pass_on(
        &mut self,
        core: &mut Core,
        host: &mut impl KernelOffload,
    ) -> Vec<TransferSnapshot> {
        let ids: Vec<Id> = self.table.running(0).collect();
        let mut snapshots = Vec::with_capacity(ids.len());
        for id in ids {
            self.reclaim(core, id, host);
            snapshots.extend(self.table.get(id).and_then(TransferSnapshot::of));
        }
        core.counters.add(Counter::PassedOn, snapshots.len() as u64);
        snapshots
    }

    /// Resumes a transfer of another process. Returns false if that is not possible.
    pub(super) fn resume(
        &mut self,
        core: &mut Core,
        now: Timestamp,
        snapshot: TransferSnapshot,
        host: &mut impl Host,
    ) -> bool {
        let TransferSnapshot { client, port, link, server, image, session } = snapshot;
        let is_of_image = session.size == image.len();
        let Some((transfer, action)) = SendSession::resume(now, &session).filter(|_| is_of_image) else {
            return false;
        };
        let context = Context { image: Some(image), ..Context::new(link, server, Default::default()) };
        let Some(id) = self.table.resume(client, port, context, transfer) else { return false };
        if !self.open(core, id, host) {
            return false;
        }
        core.counters.count(Counter::Resumed);
        self.perform(core, now, id, action, host);
        true
    }

    /// Transfers that have not ended.
    pub(super) fn active(&self) -> usize {
        self.table.active()
    }

    /// Requests that wait for a slot.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }
}

/// Sends an ERROR to a client whose request gets no slot. The ERROR comes from the first of our TIDs.
fn refuse(core: &Core, datagram: &Datagram<'_>, error: &Control, host: &mut impl Transmit) {
    let from = SocketAddrV4::new(core.reply_address(datagram), core.settings.ports.first);
    host.control(&Route { link: datagram.link, from, to: datagram.from }, error.as_bytes());
}

fn refuse_full(core: &Core, client: SocketAddrV4, link: Link, server: Ipv4Addr, host: &mut impl Transmit) {
    let error = Control::error(ErrorCode::UNDEFINED, "too many transfers at once, try again");
    let from = SocketAddrV4::new(server, core.settings.ports.first);
    host.control(&Route { link, from, to: client }, error.as_bytes());
}

/// RFC 1350, section 4: a packet from an unknown source gets an ERROR and does not disturb the transfer. An
/// ERROR is never answered.
fn refuse_stranger(core: &Core, datagram: &Datagram<'_>, is_error: bool, host: &mut impl Transmit) {
    let is_client = core.settings.is_client(Service::TftpTransfer, datagram);
    if !is_error && is_client && !core.settings.is_to_many(datagram.to) {
        let error = Control::error(ErrorCode::UNKNOWN_TID, "unknown transfer ID");
        let from = SocketAddrV4::new(core.reply_address(datagram), datagram.to.port());
        host.control(&Route { link: datagram.link, from, to: datagram.from }, error.as_bytes());
    }
}
