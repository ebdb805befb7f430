//! Datagram in, datagrams out: joins proxyDHCP, TFTP and the boot catalogue.
//!
//! ```text
//! handle(now, datagram) --67, 4011--> dhcp::reply ------------------------------> host.control
//!                       --69--------> table.admit -> catalogue -> table.start --> host.control (OACK) | host.data
//!                                     \-> waiting.ask ... waiting.pop -> table.admit, when a slot is free
//!                                                        \-> host.load ... loaded(now, id, file)
//!                                                        \-> host.put ... filed(now, id) -> table.receive (a WRQ)
//!                       --TIDs------> table.on_ack -----------------------------> host.data (the next window)
//!                                     table.on_upload -> host.store ... filed(now, id) -> host.control (ACK)
//! poll(now)             ------------> table.expire -----------------------------> host.control | host.data (again)
//! ```
//! No socket, clock or thread here: what it needs of the world is the trait [`Host`], and `now` is an argument. Nothing
//! is allocated per packet.

mod admission;
mod context;
mod host;
mod offloaded;
mod progress;
mod proxy;
mod rate_limiter;
mod rate_limits;
mod record;
mod settings;
mod snapshot;
mod sources;
mod upload_limiter;
mod uploads;

pub use host::{Blocks, Host, OffloadAnswer, OffloadProgress, OffloadRequest, Route};
pub use rate_limits::{RateLimit, RateLimits};
pub use settings::Settings;
pub use snapshot::TransferSnapshot;
pub use sources::Sources;
pub use upload_limiter::{UploadLimiter, UploadPermit};
pub use uploads::{
    BLKSIZE_MAX as UPLOAD_BLKSIZE_MAX, BLOCKS_MAX as UPLOAD_BLOCKS_MAX, InboxReply, UploadName, UploadRefusal,
};

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use pxe_common::rate_limit::Source;
use pxe_common::{Service, wire};

use crate::counters::{Counter, Counters};
use pxe_content::boot::{FileName, Image, Lookup, Refusal};
use pxe_fleet::event::Event;
use pxe_fleet::firmware_quirks::FirmwareQuirks;
use pxe_proto::datagram::Datagram;
use pxe_proto::dhcp::ServerPort;
use pxe_proto::mac::Mac;
use pxe_proto::tftp::negotiation::NegotiatedOptions;
use pxe_proto::tftp::packet::{Control, ErrorCode, Mode, Packet};
use pxe_proto::tftp::pending::PendingQueue;
use pxe_proto::tftp::send_session::Step;
use pxe_proto::tftp::table::{Expired, Id, Table, TidPorts};
use pxe_proto::time::Timestamp;

/// When there was no room to send, this long until the next attempt: a link that is down must not cost a core.
const RETRY_AFTER: Duration = Duration::from_millis(1);

use admission::{PendingRequest, waiting_places};
use context::{Context, route};
use offloaded::OffloadState;
use rate_limiter::RateLimiter;
use record::{count_data, end, peer};

/// The backlog has room for an [`Id`] for each transfer, and there are two slots for each.
const SLOT_BYTES: usize = Table::<Context>::SLOT_BYTES + size_of::<Id>() / 2;

/// The state of 4096 transfers is 2 MiB at the most.
const _: () = assert!(SLOT_BYTES <= 256);

/// The responder of one worker.
#[derive(Debug)]
pub struct Responder {
    settings: Settings,
    sources: Sources,
    table: Table<Context>,
    waiting: PendingQueue<PendingRequest>,
    quirks: FirmwareQuirks,
    rate_limiter: RateLimiter,
    /// Transfers with blocks that found no room.
    backlog: VecDeque<Id>,
    /// When these are tried again.
    retry_at: Timestamp,
    /// The slot with which [`Self::tell_progress`] goes on.
    told_up_to: u32,
    counters: Counters,
}

impl Responder {
    /// A responder that has not been asked yet.
    pub fn new(settings: Settings, sources: Sources) -> Self {
        Self {
            table: Table::new(settings.transfers, settings.ports),
            waiting: PendingQueue::new(waiting_places(settings.transfers)),
            backlog: VecDeque::with_capacity(settings.transfers),
            quirks: FirmwareQuirks::default(),
            rate_limiter: RateLimiter::new(settings.meters),
            retry_at: Timestamp::default(),
            told_up_to: 0,
            counters: Counters::default(),
            settings,
            sources,
        }
    }

    /// A datagram has come.
    pub fn handle(&mut self, now: Timestamp, datagram: &Datagram<'_>, host: &mut impl Host) {
        self.dispatch(now, datagram, host);
        self.admit_waiting(now, host);
    }

    fn dispatch(&mut self, now: Timestamp, datagram: &Datagram<'_>, host: &mut impl Host) {
        match datagram.to.port() {
            wire::PORT_DHCP_SERVER => self.on_dhcp(now, datagram, ServerPort::Port67, host),
            wire::PORT_PXE => self.on_dhcp(now, datagram, ServerPort::Port4011, host),
            wire::PORT_TFTP => self.on_tftp(now, datagram, host),
            port if self.settings.ports.contains(port) => self.on_transfer(now, datagram, host),
            _ => self.counters.count(Counter::OtherPort),
        }
    }

    fn on_tftp(&mut self, now: Timestamp, datagram: &Datagram<'_>, host: &mut impl Host) {
        if !self.settings.is_client(Service::TftpRequest, datagram) {
            return self.counters.count(Counter::BadSource);
        }
        // RFC 1123, section 4.2.3.5: a request that was broadcast is silently ignored.
        if self.settings.is_to_many(datagram.to) {
            return self.counters.count(Counter::ToMany);
        }
        let address = *datagram.from.ip();
        if !self.rate_limiter.admits(now, &self.sources.rates.load().tftp, &Source::of_tftp(address.octets()))
        {
            return self.counters.count(Counter::TftpRate);
        }
        // Not even an ERROR: who is not served is not told what is here.
        let neighbour = || datagram.link.neighbour().or_else(|| host.neighbour(address));
        if !self.sources.access.load().allows(address, neighbour) {
            return self.counters.count(Counter::NotAllowed);
        }
        let refusal = match Packet::parse(datagram.payload) {
            Ok(Packet::Write(_)) if self.settings.uploads.is_none() => {
                self.counters.count(Counter::Write);
                Control::error(ErrorCode::DENIED, "this server is read only")
            }
            Ok(Packet::Read(request) | Packet::Write(request)) if request.mode != Mode::Octet => {
                self.counters.count(Counter::Mode);
                Control::error(ErrorCode::ILLEGAL, "only octet (binary) mode is served")
            }
            Ok(Packet::Read(request)) => return self.on_read(now, datagram, &request, host),
            Ok(Packet::Write(request)) => return self.on_write(now, datagram, &request, host),
            Ok(_) => return self.counters.count(Counter::TftpUnexpected),
            Err(malformed) => return self.counters.count(malformed),
        };
        self.refuse(datagram, &refusal, host);
    }

    /// Answers a request that gets no slot, from a port that is no transfer's.
    fn refuse(&self, datagram: &Datagram<'_>, error: &Control, host: &mut impl Host) {
        let from = SocketAddrV4::new(self.reply_address(datagram), self.settings.ports.first);
        host.control(&Route { link: datagram.link, from, to: datagram.from }, error.as_bytes());
    }

    /// The address that the client used, if the datapath knows it.
    fn reply_address(&self, datagram: &Datagram<'_>) -> Ipv4Addr {
        let used = *datagram.to.ip();
        if used.is_unspecified() { self.settings.address } else { used }
    }

    fn find(&mut self, now: Timestamp, id: Id, name: &FileName, host: &mut impl Host) {
        match self.sources.catalogue.load().lookup(name) {
            Lookup::Ready(image) => self.start(now, id, image, host),
            Lookup::Refused(refusal) => self.refuse_file(id, name, refusal, host),
            Lookup::Absent => {
                let requester = self.table.get(id).map(|entry| (peer(entry), entry.context.server));
                if !requester.is_some_and(|(peer, server)| host.load(id, name, peer, server)) {
                    self.counters.count(Counter::LoaderBusy);
                    self.give_up(id, ErrorCode::UNDEFINED, "too many requests at once, try again", host);
                }
            }
        }
    }

    /// Another worker has seen a machine ask for a file.
    pub fn file_requested(&mut self, mac: Mac) {
        self.quirks.file_requested(mac);
    }

    /// The loader has an answer to [`Host::load`].
    pub fn loaded(
        &mut self,
        now: Timestamp,
        id: Id,
        name: &FileName,
        file: Result<Arc<Image>, Refusal>,
        host: &mut impl Host,
    ) {
        match file {
            Ok(image) => self.start(now, id, image, host),
            Err(refusal) => self.refuse_file(id, name, refusal, host),
        }
        self.admit_waiting(now, host);
    }

    fn refuse_file(&mut self, id: Id, name: &FileName, refusal: Refusal, host: &mut impl Host) {
        self.counters.count(refusal);
        if let Some(entry) = self.table.get(id) {
            host.record(Event::Refused { peer: peer(entry), name: Box::new(*name), refusal });
        }
        self.give_up(id, refusal.code(), refusal.text(), host);
    }

    fn start(&mut self, now: Timestamp, id: Id, image: Arc<Image>, host: &mut impl Host) {
        let Some(entry) = self.table.get_mut(id) else { return };
        let limits = self.sources.limits(&self.settings, *entry.client.ip(), &entry.context.link);
        let negotiated = NegotiatedOptions::grant(&entry.context.requested, &limits);
        let size = image.bytes().len() as u64;
        entry.context.image = Some(image);
        if self.open(id, host)
            && let Some(step) = self.table.start(now, id, size, negotiated)
        {
            self.perform(now, id, step, host);
        }
    }

    /// Lets the packets of a transfer come here; without room for that, it is given up.
    fn open(&mut self, id: Id, host: &mut impl Host) -> bool {
        let opened = self.table.get(id).is_some_and(|entry| host.open(entry.client, entry.port, id.slot()));
        if !opened {
            self.counters.count(Counter::KernelFull);
            self.give_up(id, ErrorCode::UNDEFINED, "too many transfers at once, try again", host);
        }
        opened
    }

    /// Frees the slot of a request that gets no file, and tells the client.
    fn give_up(&mut self, id: Id, code: ErrorCode, text: &str, host: &mut impl Host) {
        if let Some(entry) = self.table.refuse(id) {
            host.control(&route(&entry), Control::error(code, text).as_bytes());
        }
    }

    fn on_transfer(&mut self, now: Timestamp, datagram: &Datagram<'_>, host: &mut impl Host) {
        let (client, port) = (datagram.from, datagram.to.port());
        let packet = match Packet::parse(datagram.payload) {
            Ok(packet @ (Packet::Ack(_) | Packet::Data(..) | Packet::Error(_))) => packet,
            Ok(_) => return self.counters.count(Counter::TftpUnexpected),
            Err(malformed) => return self.counters.count(malformed),
        };
        let Some(id) = self.table.find(client, port) else {
            return self.on_stranger(datagram, matches!(packet, Packet::Error(_)), host);
        };
        self.reclaim(id, host);
        let step = match packet {
            Packet::Ack(block) => self.table.on_ack(now, id, block),
            Packet::Error(code) => self.table.on_error(now, id, code),
            Packet::Data(block, bytes) => return self.on_data(now, id, block, bytes, host),
            _ => return,
        };
        self.perform(now, id, step, host);
        self.hand_over(id, host);
    }

    /// RFC 1350, section 4: a stranger gets an error, the transfer stays. Errors are never answered.
    fn on_stranger(&mut self, datagram: &Datagram<'_>, is_error: bool, host: &mut impl Host) {
        self.counters.count(Counter::Stranger);
        let is_client = self.settings.is_client(Service::TftpTransfer, datagram);
        if !is_error && is_client && !self.settings.is_to_many(datagram.to) {
            let error = Control::error(ErrorCode::UNKNOWN_TID, "unknown transfer ID");
            let from = SocketAddrV4::new(self.reply_address(datagram), datagram.to.port());
            host.control(&Route { link: datagram.link, from, to: datagram.from }, error.as_bytes());
        }
    }

    fn perform(&mut self, now: Timestamp, id: Id, step: Step, host: &mut impl Host) {
        match step {
            Step::Wait => {}
            Step::Ignore(ignored) => self.counters.count(ignored),
            Step::SendData => self.send(id, host),
            Step::SendOack => {
                let Some(entry) = self.table.get(id) else { return };
                let Some(session) = entry.session() else { return };
                host.control(&route(entry), Control::oack(&session.granted()).as_bytes());
            }
            Step::SendAck => self.acknowledge(id, host),
            Step::End(outcome) => {
                if let Some(entry) = self.table.get_mut(id) {
                    end(&mut self.counters, entry, outcome, now, host);
                    entry.context.upload = None;
                }
            }
        }
    }

    /// Sends what a transfer's window still lacks, as far as there is room.
    fn send(&mut self, id: Id, host: &mut impl Host) {
        let Some(entry) = self.table.get_mut(id) else { return };
        let Some((route, transfer, context)) = context::sending(entry) else { return };
        let (first, count) = transfer.unsent();
        let Some(image) = &context.image else { return };
        let blksize = transfer.negotiated().blksize;
        let sent = host.data(&route, &Blocks { image, blksize, first, count });
        transfer.sent(sent);
        context.offload_state.sent_here(transfer.highest());
        count_data(&mut self.counters, transfer, first, sent);
        if sent < count && !context.queued {
            context.queued = true;
            self.counters.count(Counter::SendBusy);
            self.backlog.push_back(id);
        }
    }

    /// Time has passed, or there is room to send again.
    pub fn poll(&mut self, now: Timestamp, host: &mut impl Host) {
        let waiting = if now >= self.retry_at { self.backlog.len() } else { 0 };
        if waiting > 0 {
            self.retry_at = now + RETRY_AFTER;
        }
        for _ in 0..waiting {
            let Some(id) = self.backlog.pop_front() else { break };
            if let Some(entry) = self.table.get_mut(id) {
                entry.context.queued = false;
                self.send(id, host);
            }
        }
        while let Some(expired) = {
            let counters = &mut self.counters;
            self.table.expire(now, |id, entry| offloaded::before_time_out(now, id, entry, counters, host))
        } {
            match expired {
                Expired::Step(id, step) => {
                    if matches!(step, Step::SendData | Step::SendOack | Step::SendAck) {
                        self.counters.count(Counter::Timeouts);
                    }
                    self.perform(now, id, step, host);
                }
                Expired::Freed(entry) => host.close(entry.client, entry.port),
                Expired::NotLoaded(entry) => {
                    self.counters.count(Counter::LoaderBusy);
                    let error = Control::error(ErrorCode::UNDEFINED, "too many requests at once, try again");
                    host.control(&route(&entry), error.as_bytes());
                }
            }
        }
        self.admit_waiting(now, host);
        self.dismiss_waiting(now, host);
    }

    /// When [`Self::poll`] wants to be called; a time that has passed means at once.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let retry = (!self.backlog.is_empty()).then_some(self.retry_at);
        [retry, self.table.next_deadline(), self.waiting_deadline()].into_iter().flatten().min()
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// For what the worker itself counts.
    pub fn tally_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// Our TIDs.
    pub fn ports(&self) -> TidPorts {
        self.settings.ports
    }

    /// Transfers that have not ended.
    pub fn active(&self) -> usize {
        self.table.active()
    }
}
