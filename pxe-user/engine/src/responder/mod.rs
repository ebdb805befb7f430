//! The responder of a worker: takes a datagram, and sends datagrams. It joins proxyDHCP, TFTP and the boot
//! catalogue.
//!
//! ```text
//! handle(now, datagram)
//!   67, 4011 -> DhcpService: Rulebook::decide -> reply -> control
//!   69 -------> TftpService: table.admit -> catalogue -> table.start -> control (OACK) | data
//!                 \-> pending.ask ... pending.pop -> table.admit, when a slot is free
//!                             \-> load ... loaded(now, id, file)
//!                             \-> put ... on_inbox_reply(now, id) -> table.receive (a WRQ)
//!   TIDs -----> table.on_ack -> data (the next window)
//!               table.on_upload -> store ... on_inbox_reply(now, id) -> control (ACK)
//! poll(now) --> table.expire -> control | data (again)
//! ```
//!
//! [`Responder`] dispatches by port. Each service owns its state; both share `core`. The responder uses no
//! socket, clock or thread: what it needs from its worker are the traits of [`Host`], and `now` is an
//! argument. It allocates nothing per packet.

mod bounded_table;
mod core;
pub mod decide;
mod dhcp_service;
mod host;
mod others_machines;
mod rate_limiter;
mod rate_limits;
mod settings;
mod sources;
mod tftp_service;
mod upload_limiter;

use std::sync::Arc;

use pxe_common::wire;

use crate::counters::{Counter, Counters};
use core::Core;
use dhcp_service::DhcpService;
pub use host::{
    Blocks, Events, Host, KernelOffload, OffloadAnswer, OffloadProgress, OffloadRequest, Route, Storage,
    Transmit, UploadName,
};
use pxe_content::boot::{FileName, Image, Refusal};
use pxe_proto::datagram::Datagram;
use pxe_proto::dhcp::ServerPort;
use pxe_proto::mac::Mac;
use pxe_proto::tftp::table::{Id, TidPorts};
use pxe_proto::time::Timestamp;
pub use rate_limits::{RateLimit, RateLimits};
pub use settings::ResponderSettings;
pub use sources::Sources;
use tftp_service::TftpService;
pub use tftp_service::{InboxReply, TransferSnapshot, UPLOAD_BLKSIZE_MAX, UPLOAD_BLOCKS_MAX, UploadRefusal};
pub use upload_limiter::{UploadLimiter, UploadPermit};

/// The responder of one worker.
#[derive(Debug)]
pub struct Responder {
    core: Core,
    dhcp: DhcpService,
    tftp: TftpService,
}

impl Responder {
    /// A responder without transfers.
    pub fn new(settings: ResponderSettings, sources: Sources) -> Self {
        let tftp = TftpService::new(settings.transfers, settings.ports);
        Self { core: Core::new(settings, sources), dhcp: DhcpService::default(), tftp }
    }

    /// Handles a datagram that has arrived.
    pub fn handle(&mut self, now: Timestamp, datagram: &Datagram<'_>, host: &mut impl Host) {
        let Self { core, dhcp, tftp } = self;
        match datagram.to.port() {
            wire::PORT_DHCP_SERVER => dhcp.handle(core, now, datagram, ServerPort::Port67, host),
            wire::PORT_PXE => dhcp.handle(core, now, datagram, ServerPort::Port4011, host),
            wire::PORT_TFTP => {
                if tftp.on_request(core, now, datagram, host) {
                    dhcp.file_requested(datagram.link.peer);
                }
            }
            port if core.settings.ports.contains(port) => tftp.on_transfer(core, now, datagram, host),
            _ => core.counters.count(Counter::OtherPort),
        }
        tftp.admit_pending(core, now, host);
    }

    /// Records that a machine has asked for a file at another worker.
    pub fn file_requested(&mut self, mac: Mac) {
        self.dhcp.file_requested(mac);
    }

    /// Handles the loader's reply to [`Storage::load`].
    pub fn loaded(
        &mut self,
        now: Timestamp,
        id: Id,
        name: &FileName,
        file: Result<Arc<Image>, Refusal>,
        host: &mut impl Host,
    ) {
        self.tftp.loaded(&mut self.core, now, id, name, file, host);
        self.tftp.admit_pending(&mut self.core, now, host);
    }

    /// Handles the inbox's reply to [`Storage::put`] or [`Storage::store`].
    pub fn on_inbox_reply(&mut self, now: Timestamp, id: Id, reply: InboxReply, host: &mut impl Host) {
        self.tftp.on_inbox_reply(&mut self.core, now, id, reply, host);
        self.tftp.admit_pending(&mut self.core, now, host);
    }

    /// Handles every timer that is due, and sends what found no room in the send queue before.
    pub fn poll(&mut self, now: Timestamp, host: &mut impl Host) {
        self.tftp.poll(&mut self.core, now, host);
    }

    /// When the worker must call [`Self::poll`] next. A time in the past means at once; `None` means that no
    /// timer is set.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.tftp.next_deadline()
    }

    /// Reports the progress of transfers that have run for a while. The worker calls this once or twice a
    /// second.
    pub fn report_progress(&mut self, now: Timestamp, host: &mut (impl KernelOffload + Events)) {
        self.tftp.report_progress(now, host);
    }

    /// Returns snapshots of all transfers, for another process to resume. Uploads, and requests that wait for
    /// a slot or a file, are not among them: their clients ask again, or give up.
    pub fn pass_on(&mut self, host: &mut impl KernelOffload) -> Vec<TransferSnapshot> {
        self.tftp.pass_on(&mut self.core, host)
    }

    /// Resumes a transfer of another process. Returns false if the port is none of our TIDs, if the client
    /// already has a transfer here, if all slots are taken or the kernel's table is full, or if the snapshot
    /// is inconsistent.
    pub fn resume(&mut self, now: Timestamp, snapshot: TransferSnapshot, host: &mut impl Host) -> bool {
        self.tftp.resume(&mut self.core, now, snapshot, host)
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// The counters, for outcomes that the worker itself counts.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.core.counters
    }

    /// The range of our TIDs.
    pub fn ports(&self) -> TidPorts {
        self.core.settings.ports
    }

    /// Number of transfers that have not ended.
    pub fn active(&self) -> usize {
        self.tftp.active()
    }

    /// Requests that wait for a slot.
    pub fn pending(&self) -> usize {
        self.tftp.pending()
    }
}
