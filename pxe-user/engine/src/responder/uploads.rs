//! Uploads: files that machines put into the inbox by TFTP.
//!
//! Whose a file is, the fleet says: on our link by the frame's source, or the kernel's neighbour table where sockets hide it;
//! behind a relay by the lease that the machine was seen to take.
//!
//! A worker never waits for the disk: blocks go to another thread, and only what that has taken is acknowledged.

use arrayvec::ArrayString;

use super::admission::RequestKind;
use super::record::peer;
use super::upload_limiter::{BEHIND, UploadPermit, WINDOWSIZE_MAX};
use super::{Host, Responder, route};
use crate::counters::Counter;
use pxe_proto::datagram::Datagram;
use pxe_proto::tftp::negotiation::{NegotiatedOptions, OptionLimits};
use pxe_proto::tftp::packet::{Control, ErrorCode, Request, RequestedOptions};
use pxe_proto::tftp::receive_session::{BlockAccepted, ReceiveSession};
use pxe_proto::tftp::send_session::Step;
use pxe_proto::tftp::table::Id;
use pxe_proto::time::Timestamp;

/// What blocks of uploads may have, in bytes: a frame of plain Ethernet, which the buffers of all datapaths hold.
pub const BLKSIZE_MAX: u16 = 1468;
/// Most blocks of an upload that can be on their way to the disk.
pub const BLOCKS_MAX: usize = BEHIND + WINDOWSIZE_MAX as usize;

/// An upload's name as the client wrote it, without slashes in front; whether it is a good one, the inbox says.
pub type UploadName = ArrayString<{ u8::MAX as usize }>;

/// What the inbox says of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboxReply {
    /// There is a place for it.
    Open,
    /// Its blocks are written so far.
    Room,
    /// It is complete, and on the disk.
    Kept,
    /// It is refused or broken off; nothing is left of it.
    Denied(UploadRefusal),
}

/// Why an upload is refused or broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadRefusal {
    /// The name is not one that is taken.
    Name,
    /// A file of this name is there, or on its way.
    Exists,
    /// It is too large for one file.
    TooLarge,
    /// The machine's share, or all of the inbox, is full.
    Full,
    /// Too many uploads at a time.
    Busy,
    /// The disk says no.
    Disk,
    /// Nobody knows which machine sends it.
    Sender,
    /// A block was larger than agreed.
    Oversized,
}

impl UploadRefusal {
    /// How it is counted, and told to the client.
    fn told(self) -> (Counter, ErrorCode, &'static str) {
        match self {
            Self::Name => (Counter::UploadName, ErrorCode::DENIED, "a name has only A-Z a-z 0-9 . _ -"),
            Self::Exists => (Counter::UploadExists, ErrorCode::EXISTS, "a file of this name exists already"),
            Self::TooLarge => (Counter::UploadTooLarge, ErrorCode::FULL, "the file is too large"),
            Self::Full => (Counter::UploadFull, ErrorCode::FULL, "the inbox is full"),
            Self::Busy => (Counter::UploadBusy, ErrorCode::UNDEFINED, "too many uploads at once, try again"),
            Self::Disk => (Counter::UploadDisk, ErrorCode::UNDEFINED, "the inbox cannot be written"),
            Self::Sender => (Counter::UploadSender, ErrorCode::UNDEFINED, "unknown machine"),
            Self::Oversized => {
                (Counter::UploadOversized, ErrorCode::ILLEGAL, "a block is larger than agreed")
            }
        }
    }
}

impl Responder {
    pub(super) fn on_write(
        &mut self,
        now: Timestamp,
        datagram: &Datagram<'_>,
        request: &Request<'_>,
        host: &mut impl Host,
    ) {
        let name =
            std::str::from_utf8(request.filename).map(|name| UploadName::from(name.trim_start_matches('/')));
        let Ok(Ok(name)) = name else {
            let (counter, code, text) = UploadRefusal::Name.told();
            self.counters.count(counter);
            return self.refuse(datagram, &Control::error(code, text), host);
        };
        self.ask(now, datagram, request, RequestKind::Write(name, request.size), host);
    }

    /// A request to write has its slot: the inbox is asked.
    pub(super) fn find_place(
        &mut self,
        now: Timestamp,
        id: Id,
        name: &UploadName,
        size: Option<u64>,
        host: &mut impl Host,
    ) {
        self.counters.count(Counter::Uploads);
        let permit = self.settings.uploads.as_ref().and_then(|upload_limiter| upload_limiter.take(size));
        let Some(entry) = self.table.get_mut(id) else { return };
        let Some(permit) = permit.filter(|permit| host.put(id, permit, name, peer(entry))) else {
            return self.deny(now, id, UploadRefusal::Busy, host);
        };
        entry.context.upload = Some(permit);
    }

    /// The inbox has an answer to [`Host::put`], or to the last block.
    pub fn on_inbox_reply(
        &mut self,
        now: Timestamp,
        id: Id,
        on_inbox_reply: InboxReply,
        host: &mut impl Host,
    ) {
        match on_inbox_reply {
            // It has gone meanwhile.
            _ if self.table.get(id).is_none() => {}
            InboxReply::Open => self.receive(now, id, host),
            InboxReply::Room => {
                let step = self.table.on_upload(now, id, |reception| reception.on_room(now));
                self.perform(now, id, step, host);
            }
            InboxReply::Kept => {
                let step = self.table.on_upload(now, id, |reception| reception.on_kept(now));
                if matches!(step, Step::End(_)) {
                    self.acknowledge(id, host);
                }
                self.perform(now, id, step, host);
            }
            InboxReply::Denied(denial) => self.deny(now, id, denial, host),
        }
        self.admit_waiting(now, host);
    }

    fn receive(&mut self, now: Timestamp, id: Id, host: &mut impl Host) {
        let Some(entry) = self.table.get(id) else { return };
        let limits = self.sources.limits(&self.settings, *entry.client.ip(), &entry.context.link);
        let limits = OptionLimits {
            blksize: limits.blksize.min(BLKSIZE_MAX),
            windowsize: limits.windowsize.min(WINDOWSIZE_MAX),
        };
        let size = entry.context.upload.as_ref().and_then(UploadPermit::announced);
        let requested = entry.context.requested;
        // A size that is no number counts as not asked (RFC 2347).
        let negotiated = NegotiatedOptions::grant(
            &RequestedOptions { tsize: requested.tsize && size.is_some(), ..requested },
            &limits,
        );
        if self.open(id, host)
            && let Some(step) = self.table.receive(now, id, size, negotiated)
        {
            self.perform(now, id, step, host);
        }
    }

    /// DATA has come for a transfer of ours.
    pub(super) fn on_data(&mut self, now: Timestamp, id: Id, block: u16, bytes: &[u8], host: &mut impl Host) {
        let Some(entry) = self.table.get(id) else { return };
        let Some(reception) = entry.reception() else { return self.counters.count(Counter::TftpUnexpected) };
        if bytes.len() > usize::from(reception.negotiated().blksize) && !reception.has_ended() {
            return self.deny(now, id, UploadRefusal::Oversized, host);
        }
        let permit = entry.context.upload.clone();
        let mut taken = false;
        let take = |last| {
            let answer = permit.map_or(BlockAccepted::No, |permit| host.store(&permit, bytes, last));
            taken = answer != BlockAccepted::No;
            answer
        };
        let step = self.table.on_upload(now, id, |upload| upload.on_data(now, block, bytes.len(), take));
        if taken {
            self.counters.count(Counter::UploadBlocks);
            self.counters.add(Counter::UploadBytes, bytes.len() as u64);
        }
        self.perform(now, id, step, host);
    }

    /// Sends an ACK of what was taken.
    pub(super) fn acknowledge(&self, id: Id, host: &mut impl Host) {
        let Some(entry) = self.table.get(id) else { return };
        if let Some(taken) = entry.reception().map(ReceiveSession::taken) {
            host.control(&route(entry), Control::ack(taken).as_bytes());
        }
    }

    /// Ends an upload that gets no place, or loses it, and tells the client.
    fn deny(&mut self, now: Timestamp, id: Id, denial: UploadRefusal, host: &mut impl Host) {
        let (counter, code, text) = denial.told();
        let Some(entry) = self.table.get_mut(id) else { return };
        let Some(reception) = entry.reception() else {
            self.counters.count(counter);
            return self.give_up(id, code, text, host);
        };
        if reception.has_ended() {
            return;
        }
        self.counters.count(counter);
        entry.context.upload = None;
        host.control(&route(entry), Control::error(code, text).as_bytes());
        self.table.break_off(now, id);
    }
}
