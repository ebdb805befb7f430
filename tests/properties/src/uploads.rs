//! Clients upload files: each acknowledged block was stored once and in order, and the last ACK means that the file is
//! complete, however slow, full or broken the inbox is.

use std::collections::VecDeque;
use std::time::Duration;

use pxe_engine::responder::{InboxReply, UploadName, UploadPermit, UploadRefusal};
use pxe_proto::tftp::receive_session::BlockAccepted;
use pxe_proto::tftp::table::Id;

use super::script::Script;
use super::transfers::anything;
use super::world::{PORTS, World, client};

/// The block size of all uploads here.
const BLKSIZE: usize = 16;

/// Takes any bytes as a script: a byte for each step, then its arguments.
pub fn check(input: &[u8]) {
    let mut script = Script(input);
    let mut world = World::new();
    while let Some(step) = script.step() {
        match step % 10 {
            0 | 1 => ask(&mut world, &mut script),
            2 | 3 => send(&mut world, &mut script),
            4 => answer(&mut world),
            5 => {
                world.wait(Duration::from_millis(script.pick([1, 20, 100, 300, 1000, 3000, 15_000, 60_000])))
            }
            6 => world.host.inbox.room = script.pick([0, 1, 3, u64::MAX]),
            7 => world.host.inbox.mood = script.pick([Mood::Good, Mood::Behind, Mood::Denies, Mood::Breaks]),
            8 => anything(&mut world, &mut script),
            _ => world.host.opens = script.byte() & 1 == 0,
        }
    }
    while world.host.inbox.has_answers() {
        answer(&mut world);
    }
    world.settle();
    assert!(
        world.host.inbox.uploads.iter().all(|upload| upload.ticket.is_abandoned()),
        "a permit is still in use"
    );
    world.host.inbox.uploads.clear();
    let places: Vec<_> = (0..2).map(|_| world.places.take(None)).collect();
    assert!(places.iter().all(Option::is_some), "a permit was not returned");
}

fn ask(world: &mut World, script: &mut Script<'_>) {
    let (from, what) = (client(script.byte()), script.byte());
    let window = script.pick(["1", "2", "4", "65535"]);
    let mut packet = [b"\0\x02file-", [b'a' + what % 4].as_slice(), b"\0octet\0blksize\x0016\0"].concat();
    packet.extend(format!("windowsize\0{window}\0").bytes());
    if what & 4 != 0 {
        packet.extend(b"tsize\x00100\0");
    }
    world.say(from, 69, &packet);
}

/// A client sends a block: the next one, another one, a short one, or one that is too long.
fn send(world: &mut World, script: &mut Script<'_>) {
    let from = client(script.byte());
    let offset = script.pick([0_u64, 0, 0, 1, 2, 3, 5, u64::MAX]);
    let len = script.pick([BLKSIZE, BLKSIZE, BLKSIZE, 2, 0, BLKSIZE + 1]);
    let port = world.host.tid_of(from).unwrap_or(PORTS.first);
    let stored =
        world.host.open.get(&(from, port)).map_or(0, |session| world.host.inbox.stored(session.slot()));
    let block = (stored + 1).wrapping_add(offset) as u16;
    let mut packet = [&[0, 3][..], &block.to_be_bytes()].concat();
    packet.extend(block.to_be_bytes().into_iter().cycle().take(len));
    world.say(from, port, &packet);
}

/// The inbox sends its next answer.
fn answer(world: &mut World) {
    let Some((id, filed)) = world.host.inbox.answers.pop_front() else { return };
    if filed == InboxReply::Kept
        && let Some(upload) = world.host.inbox.uploads.iter_mut().find(|upload| upload.id == id)
    {
        upload.told_kept = true;
    }
    world.event(|responder, host| responder.on_inbox_reply(host.now, id, filed, host));
}

/// The behaviour of the inbox.
#[derive(Clone, Copy, Debug)]
enum Mood {
    /// Stores blocks at once.
    Good,
    /// Makes the client wait until each block is written.
    Behind,
    /// Refuses new files.
    Denies,
    /// Fails while it writes a file.
    Breaks,
}

/// An upload in progress.
#[derive(Debug)]
struct Upload {
    ticket: UploadPermit,
    id: Id,
    stored: u64,
    /// Whether the last block was stored.
    complete: bool,
    /// Whether the responder knows that the file is complete.
    told_kept: bool,
}

/// An inbox that answers when the script says so.
#[derive(Debug)]
pub(super) struct Inbox {
    uploads: Vec<Upload>,
    answers: VecDeque<(Id, InboxReply)>,
    /// The number of blocks that it can still take.
    room: u64,
    mood: Mood,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { uploads: Vec::new(), answers: VecDeque::new(), room: u64::MAX, mood: Mood::Good }
    }
}

impl Inbox {
    pub(super) fn put(&mut self, id: Id, ticket: &UploadPermit, _name: &UploadName) -> bool {
        if let Mood::Denies = self.mood {
            self.answers.push_back((id, InboxReply::Denied(UploadRefusal::Exists)));
        } else {
            // The previous upload in this slot has ended.
            self.uploads.retain(|upload| upload.id.slot() != id.slot());
            let ticket = ticket.clone();
            self.uploads.push(Upload { ticket, id, stored: 0, complete: false, told_kept: false });
            self.answers.push_back((id, InboxReply::Open));
        }
        true
    }

    pub(super) fn store(&mut self, ticket: &UploadPermit, bytes: &[u8], last: bool) -> BlockAccepted {
        let upload =
            self.uploads.iter_mut().find(|upload| upload.ticket == *ticket).expect("a file that was put");
        if self.room == 0 {
            return BlockAccepted::No;
        }
        self.room -= 1;
        assert!(!upload.complete, "a block after the last one");
        upload.stored += 1;
        let number = (upload.stored as u16).to_be_bytes();
        assert!(bytes.len() <= BLKSIZE && last == (bytes.len() < BLKSIZE));
        assert!(bytes.iter().zip(number.iter().cycle()).all(|(a, b)| a == b), "not the next block");
        upload.complete = last;
        let answer = match (self.mood, last) {
            (Mood::Breaks, _) => Some(InboxReply::Denied(UploadRefusal::Disk)),
            (_, true) => Some(InboxReply::Kept),
            (Mood::Behind, false) => Some(InboxReply::Room),
            (_, false) => None,
        };
        self.answers.extend(answer.map(|filed| (upload.id, filed)));
        if answer == Some(InboxReply::Room) { BlockAccepted::NoRoom } else { BlockAccepted::Yes }
    }

    /// Checks an ACK: it must name the last stored block. The ACK of the last block must come after the file is complete.
    pub(super) fn acknowledged(&self, slot: u32, block: u16) {
        let upload = self.uploads.iter().find(|upload| upload.id.slot() == slot).expect("an upload");
        assert_eq!(u64::from(block), upload.stored, "an ACK of another block than the last stored one");
        assert!(
            !upload.complete || upload.told_kept,
            "the last block was acknowledged before the file was complete"
        );
    }

    fn stored(&self, slot: u32) -> u64 {
        self.uploads.iter().find(|upload| upload.id.slot() == slot).map_or(0, |upload| upload.stored)
    }

    fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }
}
