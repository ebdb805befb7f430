//! Tests of the inbox's thread with a real inbox, as a worker uses it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::mpsc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc::Receiver;

use super::*;
use pxe_content::inbox::Quota;
use pxe_fleet::event::Transport;
use pxe_proto::tftp::table::{Admission, Table, TidPorts};
use pxe_proto::time::Timestamp;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);

struct Desk {
    directory: tempfile::TempDir,
    uploads: Uploads,
    queues: Arc<WorkerQueues>,
    told: mpsc::Receiver<Message>,
    table: Table<()>,
}

/// A stub of the fleet. It takes a machine's address from the frame. For hidden frames it knows the IPv4
/// address 10.0.0.7 only. It forwards all other messages to `told`.
fn fleet(mut messages: Receiver<Message>, told: &mpsc::Sender<Message>) {
    while let Some(message) = messages.blocking_recv() {
        match message {
            Message::Owner(peer, answer) => {
                let known = |address| (address == Ipv4Addr::new(10, 0, 0, 7)).then_some(OTHER);
                answer.send(peer.link(known)).unwrap();
            }
            other => told.send(other).unwrap(),
        }
    }
}

impl Desk {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let quota = Quota { file: 200_000, machine: 300_000, total: 500_000 };
        let inbox = Inbox::open(&directory.path().join("inbox"), quota).unwrap();
        let (handle, messages) = FleetHandle::new();
        let (sender, told) = mpsc::channel();
        std::thread::spawn(move || fleet(messages, &sender));
        let uploads = Uploads::start(inbox, 4096, handle, || ()).unwrap();
        let queues = Arc::new(WorkerQueues::new(8).unwrap());
        let table = Table::new(8, TidPorts { first: 50_000, count: 16 });
        Self { directory, uploads, queues, told, table }
    }

    /// Asks the inbox for a file; returns the permit and the reply.
    fn put(&mut self, mac: Mac, address: u8, name: &str, size: Option<u64>) -> (UploadPermit, InboxReply) {
        let client = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, address), 2000);
        let now = Timestamp::default();
        let admitted = self.table.admit(now, client, now.as_micros(), (), |_, _| {});
        let Admission::Admitted(id) = admitted else { panic!("{admitted:?}") };
        self.table.refuse(id);
        let permit = self.uploads.limiter().take(size).unwrap();
        let peer = Peer { address: client, mac, transport: Transport::Tftp };
        assert!(self.uploads.queue().put(&self.queues, id, &permit, &UploadName::from(name).unwrap(), peer));
        let (of, filed) = self.answer();
        assert_eq!(of, id);
        (permit, filed)
    }

    fn answer(&self) -> (Id, InboxReply) {
        let mut tries = 0;
        loop {
            if let Some(answer) = self.queues.next_inbox_reply() {
                return answer;
            }
            tries += 1;
            assert!(tries < 60, "no answer");
            let mut fds = [PollFd::new(self.queues.waker().event_fd(), PollFlags::IN)];
            poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })).unwrap();
            self.queues.waker().clear();
        }
    }

    fn store(&self, permit: &UploadPermit, bytes: &[u8], last: bool) {
        while self.uploads.queue().store(permit, bytes, last) == BlockAccepted::No {
            std::thread::yield_now();
        }
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        let inbox = self.directory.path().join("inbox");
        std::fs::read_dir(inbox).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

#[test]
fn a_file_arrives_block_by_block_and_the_fleet_is_told() {
    let mut desk = Desk::new();
    let (permit, filed) = desk.put(MAC, 9, "dmesg.txt", Some(3000));
    assert_eq!(filed, InboxReply::Open);
    for (block, last) in [([1; 1468].as_slice(), false), (&[2; 1468], false), (&[3; 64], true)] {
        desk.store(&permit, block, last);
    }
    assert_eq!(desk.answer().1, InboxReply::Kept);
    let kept = desk.directory.path().join("inbox/02:00:00:00:00:01/dmesg.txt");
    assert_eq!(std::fs::read(&kept).unwrap(), [vec![1; 1468], vec![2; 1468], vec![3; 64]].concat());
    let told = desk.told.recv();
    assert!(matches!(&told, Ok(Message::Uploaded(MAC, name, 3000)) if name == "dmesg.txt"), "{told:?}");
    assert_eq!(desk.put(MAC, 9, "dmesg.txt", None).1, InboxReply::Denied(UploadRefusal::Exists));
    assert_eq!(std::fs::read(&kept).unwrap().len(), 3000);
}

#[test]
fn what_is_not_taken_is_said_and_leaves_nothing() {
    let mut desk = Desk::new();
    for (mac, name, size, denial) in [
        (MAC, "../x", None, UploadRefusal::Name),
        (MAC, "", None, UploadRefusal::Name),
        (MAC, "large", Some(200_001), UploadRefusal::TooLarge),
        (Mac::default(), "unknown", None, UploadRefusal::Sender),
    ] {
        assert_eq!(desk.put(mac, 9, name, size).1, InboxReply::Denied(denial), "{name}");
    }
    // The machine announced a smaller size than it sends.
    let (permit, _) = desk.put(MAC, 9, "grows", Some(10));
    for _ in 0..200 {
        desk.store(&permit, &[0; 1468], false);
    }
    while let (_, filed) = desk.answer()
        && filed != InboxReply::Denied(UploadRefusal::TooLarge)
    {
        assert_eq!(filed, InboxReply::Room);
    }
    assert_eq!(desk.files(), Vec::<std::path::PathBuf>::new());
    // Plain sockets hide the Ethernet address, but the fleet knows it.
    let (permit, filed) = desk.put(Mac::default(), 7, "known", None);
    assert_eq!(filed, InboxReply::Open);
    desk.store(&permit, b"", true);
    assert_eq!(desk.answer().1, InboxReply::Kept);
    assert!(desk.directory.path().join("inbox/02:00:00:00:00:02/known").exists());
}

#[test]
fn who_goes_away_leaves_nothing_and_gives_its_place_back() {
    let mut desk = Desk::new();
    for _ in 0..3 * UPLOADS_MAX {
        // The same name can be used again at once: an abandoned upload is removed before the next one begins.
        let (permit, filed) = desk.put(MAC, 9, "same", None);
        assert_eq!(filed, InboxReply::Open);
        desk.store(&permit, &[0; 1468], false);
    }
    drop(desk.uploads);
    let inbox = desk.directory.path().join("inbox");
    assert_eq!(std::fs::read_dir(inbox).unwrap().count(), 0);
}

/// A worker that got `NoRoom` gets a reply when there is room again.
#[test]
fn who_is_held_is_told_of_room() {
    let permit = UploadLimiter::new(1).take(None).unwrap();
    let taken: Vec<_> = (0..UPLOAD_BLOCKS_MAX).map(|_| permit.stored()).collect();
    let (early, late) = taken.split_at(UPLOAD_BLOCKS_MAX / 2);
    assert!(
        early.iter().all(|taken| *taken == BlockAccepted::Yes)
            && late.iter().all(|taken| *taken == BlockAccepted::NoRoom)
    );
    let told: Vec<_> = (0..UPLOAD_BLOCKS_MAX).map(|_| permit.written()).collect();
    assert_eq!(told.iter().position(|told| *told), Some(UPLOAD_BLOCKS_MAX - 1));
    assert_eq!((permit.stored(), permit.written()), (BlockAccepted::Yes, false));
}

#[test]
fn places_are_bounded_and_come_back() {
    let upload_limiter = UploadLimiter::new(2);
    let (one, two) = (upload_limiter.take(None).unwrap(), upload_limiter.take(Some(7)).unwrap());
    assert!(upload_limiter.take(None).is_none() && one != two && two.announced() == Some(7));
    let copy = one.clone();
    drop(one);
    assert!(upload_limiter.take(None).is_none() && copy.is_abandoned());
    drop(copy);
    assert!(upload_limiter.take(None).is_some());
}
