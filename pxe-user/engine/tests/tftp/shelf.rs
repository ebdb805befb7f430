//! An inbox in memory, with the manners of the real one: an answer to each request, and to each last block.

use std::collections::{BTreeMap, VecDeque};

use pxe_engine::responder::{Denial, Filed, Ticket, UploadName};
use pxe_proto::tftp::reception::Taken;
use pxe_proto::tftp::table::Id;

#[derive(Debug)]
struct Open {
    ticket: Ticket,
    id: Id,
    name: UploadName,
    bytes: Vec<u8>,
}

/// What was put, and what is on its way.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    open: Vec<Open>,
    answers: VecDeque<(Id, Filed)>,
    /// Room for blocks until this is set again.
    pub(crate) room: u64,
    /// Bytes that one file may have.
    pub(crate) largest: usize,
    /// Each block has to be written before the next ACK.
    pub(crate) behind: bool,
}

impl Default for Shelf {
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

impl Shelf {
    pub(crate) fn put(&mut self, id: Id, ticket: &Ticket, name: &UploadName) -> bool {
        self.open.retain(|open| !open.ticket.is_abandoned());
        let taken = self.files.contains_key(name.as_str()) || self.open.iter().any(|open| open.name == *name);
        let filed = match name.as_str() {
            "" | "bad name" => Filed::Denied(Denial::Name),
            _ if ticket.announced().is_some_and(|size| size > self.largest as u64) => {
                Filed::Denied(Denial::TooLarge)
            }
            _ if taken => Filed::Denied(Denial::Exists),
            _ => {
                self.open.push(Open { ticket: ticket.clone(), id, name: *name, bytes: Vec::new() });
                Filed::Open
            }
        };
        self.answers.push_back((id, filed));
        true
    }

    pub(crate) fn store(&mut self, ticket: &Ticket, bytes: &[u8], last: bool) -> Taken {
        if self.room == 0 {
            return Taken::No;
        }
        self.room -= 1;
        let Some(index) = self.open.iter().position(|open| open.ticket == *ticket) else { return Taken::Yes };
        let open = &mut self.open[index];
        open.bytes.extend(bytes);
        if open.bytes.len() > self.largest || last {
            let Open { id, name, bytes, .. } = self.open.swap_remove(index);
            let fits = bytes.len() <= self.largest;
            let filed = if fits { Filed::Kept } else { Filed::Denied(Denial::Full) };
            if fits {
                assert!(self.files.insert(name.to_string(), bytes).is_none(), "overwritten");
            }
            self.answers.push_back((id, filed));
        } else if self.behind {
            self.answers.push_back((open.id, Filed::Room));
            return Taken::Behind;
        }
        Taken::Yes
    }

    pub(crate) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    pub(crate) fn next_answer(&mut self) -> Option<(Id, Filed)> {
        self.answers.pop_front()
    }

    /// Uploads that somebody still sends.
    pub(crate) fn under_way(&mut self) -> usize {
        self.open.retain(|open| !open.ticket.is_abandoned());
        self.open.len()
    }
}
