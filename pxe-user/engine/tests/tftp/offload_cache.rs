//! An inbox in memory that behaves as the real one does: it replies to each request, and to each last block.

use std::collections::{BTreeMap, VecDeque};

use pxe_engine::responder::{InboxReply, UploadName, UploadPermit, UploadRefusal};
use pxe_proto::tftp::receive_session::BlockAccepted;
use pxe_proto::tftp::table::Id;

#[derive(Debug)]
struct Open {
    permit: UploadPermit,
    id: Id,
    name: UploadName,
    bytes: Vec<u8>,
}

/// The files that were uploaded, and the uploads that are running.
#[derive(Debug)]
pub(crate) struct OffloadCache {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    open: Vec<Open>,
    answers: VecDeque<(Id, InboxReply)>,
    /// How many more blocks are accepted, until a test sets this again.
    pub(crate) room: u64,
    /// Most bytes in one file.
    pub(crate) largest: usize,
    /// If true, each block must be written before the next ACK.
    pub(crate) behind: bool,
}

impl Default for OffloadCache {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            open: Vec::new(),
            answers: VecDeque::new(),
            room: u64::MAX,
            largest: usize::MAX,
            behind: false,
        }
    }
}

impl OffloadCache {
    pub(crate) fn put(&mut self, id: Id, permit: &UploadPermit, name: &UploadName) -> bool {
        self.open.retain(|open| !open.permit.is_abandoned());
        let taken = self.files.contains_key(name.as_str()) || self.open.iter().any(|open| open.name == *name);
        let filed = match name.as_str() {
            "" | "bad name" => InboxReply::Denied(UploadRefusal::Name),
            _ if permit.announced().is_some_and(|size| size > self.largest as u64) => {
                InboxReply::Denied(UploadRefusal::TooLarge)
            }
            _ if taken => InboxReply::Denied(UploadRefusal::Exists),
            _ => {
                self.open.push(Open { permit: permit.clone(), id, name: *name, bytes: Vec::new() });
                InboxReply::Open
            }
        };
        self.answers.push_back((id, filed));
        true
    }

    pub(crate) fn store(&mut self, permit: &UploadPermit, bytes: &[u8], last: bool) -> BlockAccepted {
        if self.room == 0 {
            return BlockAccepted::No;
        }
        self.room -= 1;
        let Some(index) = self.open.iter().position(|open| open.permit == *permit) else {
            return BlockAccepted::Yes;
        };
        let open = &mut self.open[index];
        open.bytes.extend(bytes);
        if open.bytes.len() > self.largest || last {
            let Open { id, name, bytes, .. } = self.open.swap_remove(index);
            let fits = bytes.len() <= self.largest;
            let filed = if fits { InboxReply::Kept } else { InboxReply::Denied(UploadRefusal::Full) };
            if fits {
                assert!(self.files.insert(name.to_string(), bytes).is_none(), "overwritten");
            }
            self.answers.push_back((id, filed));
        } else if self.behind {
            self.answers.push_back((open.id, InboxReply::Room));
            return BlockAccepted::NoRoom;
        }
        BlockAccepted::Yes
    }

    pub(crate) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    pub(crate) fn next_answer(&mut self) -> Option<(Id, InboxReply)> {
        self.answers.pop_front()
    }

    /// Number of uploads whose session is still running.
    pub(crate) fn under_way(&mut self) -> usize {
        self.open.retain(|open| !open.permit.is_abandoned());
        self.open.len()
    }
}
