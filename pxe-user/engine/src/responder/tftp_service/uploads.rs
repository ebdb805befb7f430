//! Uploads: files that machines put into the inbox by TFTP.
//!
//! The fleet decides which machine a file belongs to. On our link it uses the frame's source, or the kernel's
//! neighbour table if a plain socket hides the frame. Behind a relay it uses the lease that pxed saw the
//! machine take.
//!
//! A worker never waits for the disk: blocks go to the inbox's thread, and pxed acknowledges only blocks that
//! this thread's queue has accepted.

use super::super::core::Core;
use super::super::upload_limiter::{UploadPermit, WAITING_MAX, WINDOWSIZE_MAX};
use super::super::{Storage, UploadName};
use super::context::{Context, peer};
use crate::counters::Counter;
use pxe_proto::tftp::negotiation::{NegotiatedOptions, OptionLimits};
use pxe_proto::tftp::packet::{ErrorCode, RequestedOptions};
use pxe_proto::tftp::receive_session::BlockAccepted;
use pxe_proto::tftp::send_session::SessionAction;
use pxe_proto::tftp::table::{Entry, Id, Table};
use pxe_proto::time::Timestamp;

/// The largest block of an upload, in bytes: it fits into a plain Ethernet frame, and so into the buffers of
/// all datapaths.
pub const BLKSIZE_MAX: u16 = 1468;
/// Most blocks of an upload that can wait for the disk.
pub const BLOCKS_MAX: usize = WAITING_MAX + WINDOWSIZE_MAX as usize;

/// A reply of the inbox about an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboxReply {
    /// The file is open: the upload can start.
    Open,
    /// All blocks so far are written, so there is room again.
    Room,
    /// The file is complete and stored on the disk.
    Kept,
    /// The upload is refused or ended. None of its file is left.
    Denied(UploadRefusal),
}

/// Why an upload is refused, or ends before it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadRefusal {
    /// The name is not allowed.
    Name,
    /// A file with this name exists, or is being uploaded.
    Exists,
    /// The file is larger than one file may be.
    TooLarge,
    /// The inbox, or the machine's share of it, is full.
    Full,
    /// Too many uploads are running.
    Busy,
    /// The inbox cannot be written.
    Disk,
    /// The sender's Ethernet address is unknown.
    Sender,
    /// A block was larger than negotiated.
    Oversized,
}

impl UploadRefusal {
    /// The counter for this refusal, and the code and text of the ERROR for the client.
    pub(super) fn report(self) -> (Counter, ErrorCode, &'static str) {
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

impl InboxReply {
    /// Applies the reply to the upload. Returns the state machine's next action.
    ///
    /// # Errors
    /// Why the upload ends.
    pub(super) fn apply(
        self,
        table: &mut Table<Context>,
        now: Timestamp,
        id: Id,
    ) -> Result<SessionAction, UploadRefusal> {
        match self {
            Self::Open => Ok(SessionAction::Wait),
            Self::Room => Ok(table.on_upload(now, id, |session| session.on_room(now))),
            Self::Kept => Ok(table.on_upload(now, id, |session| session.on_kept(now))),
            Self::Denied(refusal) => Err(refusal),
        }
    }
}

/// Parses the name in a WRQ.
///
/// # Errors
/// [`UploadRefusal::Name`] if the name is not UTF-8, or is too long.
pub(super) fn parse_name(filename: &[u8]) -> Result<UploadName, UploadRefusal> {
    let name = std::str::from_utf8(filename).map_err(|_| UploadRefusal::Name)?;
    UploadName::from(name.trim_start_matches('/')).map_err(|_| UploadRefusal::Name)
}

/// Asks the inbox to create a file for an upload that has its slot. The reply is an [`InboxReply`].
///
/// # Errors
/// [`UploadRefusal::Busy`] if the most uploads are running already, or if the inbox accepts no more requests.
pub(super) fn open(
    core: &Core,
    table: &mut Table<Context>,
    id: Id,
    name: &UploadName,
    size: Option<u64>,
    host: &mut impl Storage,
) -> Result<(), UploadRefusal> {
    let Some(entry) = table.get_mut(id) else { return Ok(()) };
    let permit = core.settings.uploads.as_ref().and_then(|limiter| limiter.take(size));
    let permit = permit.filter(|permit| host.put(id, permit, name, peer(entry)));
    entry.context.upload = Some(permit.ok_or(UploadRefusal::Busy)?);
    Ok(())
}

/// Returns the options that an upload's OACK grants, and the announced size of the file in bytes.
pub(super) fn negotiate(core: &Core, entry: &Entry<Context>) -> (NegotiatedOptions, Option<u64>) {
    let limits = core.sources.limits(&core.settings, *entry.client.ip(), &entry.context.link);
    let limits = OptionLimits {
        blksize: limits.blksize.min(BLKSIZE_MAX),
        windowsize: limits.windowsize.min(WINDOWSIZE_MAX),
    };
    let size = entry.context.upload.as_ref().and_then(UploadPermit::announced);
    let requested = entry.context.requested;
    // A size that is not a number counts as not requested (RFC 2347).
    let requested = RequestedOptions { tsize: requested.tsize && size.is_some(), ..requested };
    (NegotiatedOptions::grant(&requested, &limits), size)
}

/// Handles DATA. Returns `None` if the transfer is no upload.
///
/// # Errors
/// [`UploadRefusal::Oversized`] if the block is larger than negotiated.
pub(super) fn on_data(
    core: &mut Core,
    table: &mut Table<Context>,
    now: Timestamp,
    (id, block, bytes): (Id, u16, &[u8]),
    host: &mut impl Storage,
) -> Result<Option<SessionAction>, UploadRefusal> {
    let Some(entry) = table.get(id) else { return Ok(None) };
    let Some(session) = entry.upload_session() else {
        core.counters.count(Counter::TftpUnexpected);
        return Ok(None);
    };
    if bytes.len() > usize::from(session.negotiated().blksize) && !session.has_ended() {
        return Err(UploadRefusal::Oversized);
    }
    let permit = entry.context.upload.clone();
    let mut is_stored = false;
    let store = |last| {
        let answer = permit.map_or(BlockAccepted::No, |permit| host.store(&permit, bytes, last));
        is_stored = answer != BlockAccepted::No;
        answer
    };
    let action = table.on_upload(now, id, |session| session.on_data(now, block, bytes.len(), store));
    if is_stored {
        core.counters.count(Counter::UploadBlocks);
        core.counters.add(Counter::UploadBytes, bytes.len() as u64);
    }
    Ok(Some(action))
}
