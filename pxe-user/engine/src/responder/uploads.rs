//! Uploads: files that machines put into the inbox by TFTP.
//!
//! Whose a file is, the fleet says: on our link by the frame's source, or the kernel's neighbour table where sockets hide it;
//! behind a relay by the lease that the machine was seen to take.
//!
//! A worker never waits for the disk: blocks go to another thread, and only what that has taken is acknowledged.

use arrayvec::ArrayString;

use super::admission::Wanted;
use super::places::{BEHIND, Ticket, WINDOWSIZE_MAX};
use super::record::peer;
use super::{Host, Responder, route};
use crate::tally::Other;
use pxe_proto::datagram::Datagram;
use pxe_proto::tftp::packet::{Asked, Control, ErrorCode, Request};
use pxe_proto::tftp::reception::{Reception, Taken};
use pxe_proto::tftp::table::Id;
use pxe_proto::tftp::terms::{Limits, Terms};
use pxe_proto::tftp::transfer::Step;
use pxe_proto::time::Timestamp;

/// What blocks of uploads may have, in bytes: a frame of plain Ethernet, which the buffers of all datapaths hold.
pub const BLKSIZE_MAX: u16 = 1468;
/// Most blocks of an upload that can be on their way to the disk.
pub const BLOCKS_MAX: usize = BEHIND + WINDOWSIZE_MAX as usize;

/// An upload's name as the client wrote it, without slashes in front; whether it is a good one, the inbox says.
pub type UploadName = ArrayString<{ u8::MAX as usize }>;

/// What the inbox says of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filed {
    /// There is a place for it.
    Open,
    /// Its blocks are written so far.
    Room,
    /// It is complete, and on the disk.
    Kept,
    /// It is refused or broken off; nothing is left of it.
    Denied(Denial),
}

/// Why an upload is refused or broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
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

impl Denial {
    /// How it is counted, and told to the client.
    fn told(self) -> (Other, ErrorCode, &'static str) {
        match self {
            Self::Name => (Other::UploadName, ErrorCode::DENIED, "a name has only A-Z a-z 0-9 . _ -"),
            Self::Exists => (Other::UploadExists, ErrorCode::EXISTS, "a file of this name exists already"),
            Self::TooLarge => (Other::UploadTooLarge, ErrorCode::FULL, "the file is too large"),
            Self::Full => (Other::UploadFull, ErrorCode::FULL, "the inbox is full"),
            Self::Busy => (Other::UploadBusy, ErrorCode::UNDEFINED, "too many uploads at once, try again"),
            Self::Disk => (Other::UploadDisk, ErrorCode::UNDEFINED, "the inbox cannot be written"),
            Self::Sender => (Other::UploadSender, ErrorCode::UNDEFINED, "unknown machine"),
            Self::Oversized => (Other::UploadOversized, ErrorCode::ILLEGAL, "a block is larger than agreed"),
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
            let (counter, code, text) = Denial::Name.told();
            self.tally.count(counter);
            return self.refuse(datagram, &Control::error(code, text), host);
        };
        self.ask(now, datagram, request, Wanted::Write(name, request.size), host);
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
        self.tally.count(Other::Uploads);
        let ticket = self.settings.uploads.as_ref().and_then(|places| places.take(size));
        let Some(entry) = self.table.get_mut(id) else { return };
        let Some(ticket) = ticket.filter(|ticket| host.put(id, ticket, name, peer(entry))) else {
            return self.deny(now, id, Denial::Busy, host);
        };
        entry.context.upload = Some(ticket);
    }

    /// The inbox has an answer to [`Host::put`], or to the last block.
    pub fn filed(&mut self, now: Timestamp, id: Id, filed: Filed, host: &mut impl Host) {
        match filed {
            // It has gone meanwhile.
            _ if self.table.get(id).is_none() => {}
            Filed::Open => self.receive(now, id, host),
            Filed::Room => {
                let step = self.table.on_upload(now, id, |reception| reception.on_room(now));
                self.perform(now, id, step, host);
            }
            Filed::Kept => {
                let step = self.table.on_upload(now, id, |reception| reception.on_kept(now));
                if matches!(step, Step::End(_)) {
                    self.acknowledge(id, host);
                }
                self.perform(now, id, step, host);
            }
            Filed::Denied(denial) => self.deny(now, id, denial, host),
        }
        self.admit_waiting(now, host);
    }

    fn receive(&mut self, now: Timestamp, id: Id, host: &mut impl Host) {
        let Some(entry) = self.table.get(id) else { return };
        let limits = self.sources.limits(&self.settings, *entry.client.ip(), &entry.context.link);
        let limits = Limits {
            blksize: limits.blksize.min(BLKSIZE_MAX),
            windowsize: limits.windowsize.min(WINDOWSIZE_MAX),
        };
        let size = entry.context.upload.as_ref().and_then(Ticket::announced);
        let asked = entry.context.asked;
        // A size that is no number counts as not asked (RFC 2347).
        let terms = Terms::grant(&Asked { tsize: asked.tsize && size.is_some(), ..asked }, &limits);
        if self.open(id, host)
            && let Some(step) = self.table.receive(now, id, size, terms)
        {
            self.perform(now, id, step, host);
        }
    }

    /// DATA has come for a transfer of ours.
    pub(super) fn on_data(&mut self, now: Timestamp, id: Id, block: u16, bytes: &[u8], host: &mut impl Host) {
        let Some(entry) = self.table.get(id) else { return };
        let Some(reception) = entry.reception() else { return self.tally.count(Other::TftpUnexpected) };
        if bytes.len() > usize::from(reception.terms().blksize) && !reception.has_ended() {
            return self.deny(now, id, Denial::Oversized, host);
        }
        let ticket = entry.context.upload.clone();
        let mut taken = false;
        let take = |last| {
            let answer = ticket.map_or(Taken::No, |ticket| host.store(&ticket, bytes, last));
            taken = answer != Taken::No;
            answer
        };
        let step = self.table.on_upload(now, id, |upload| upload.on_data(now, block, bytes.len(), take));
        if taken {
            self.tally.count(Other::UploadBlocks);
            self.tally.add(Other::UploadBytes, bytes.len() as u64);
        }
        self.perform(now, id, step, host);
    }

    /// Sends an ACK of what was taken.
    pub(super) fn acknowledge(&self, id: Id, host: &mut impl Host) {
        let Some(entry) = self.table.get(id) else { return };
        if let Some(taken) = entry.reception().map(Reception::taken) {
            host.control(&route(entry), Control::ack(taken).as_bytes());
        }
    }

    /// Ends an upload that gets no place, or loses it, and tells the client.
    fn deny(&mut self, now: Timestamp, id: Id, denial: Denial, host: &mut impl Host) {
        let (counter, code, text) = denial.told();
        let Some(entry) = self.table.get_mut(id) else { return };
        let Some(reception) = entry.reception() else {
            self.tally.count(counter);
            return self.give_up(id, code, text, host);
        };
        if reception.has_ended() {
            return;
        }
        self.tally.count(counter);
        entry.context.upload = None;
        host.control(&route(entry), Control::error(code, text).as_bytes());
        self.table.break_off(now, id);
    }
}
