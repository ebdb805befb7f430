//! The thread with a real inbox, as a worker sees it.

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
    mailbox: Arc<Mailbox>,
    told: mpsc::Receiver<Message>,
    table: Table<()>,
}

/// The fleet: frames say who sends, and of hidden ones only 10.0.0.7 is known. What else it is told goes on.
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
        let mailbox = Arc::new(Mailbox::new(8).unwrap());
        let table = Table::new(8, TidPorts { first: 50_000, count: 16 });
        Self { directory, uploads, mailbox, told, table }
    }

    /// A place is asked for; the answer.
    fn put(&mut self, mac: Mac, address: u8, name: &str, size: Option<u64>) -> (Ticket, Filed) {
        let client = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, address), 2000);
        let now = Timestamp::default();
        let admitted = self.table.admit(now, client, now.as_micros(), (), |_, _| {});
        let Admission::Admitted(id) = admitted else { panic!("{admitted:?}") };
        self.table.refuse(id);
        let ticket = self.uploads.places().take(size).unwrap();
        let peer = Peer { address: client, mac, transport: Transport::Tftp };
        assert!(self.uploads.queue().put(&self.mailbox, id, &ticket, &UploadName::from(name).unwrap(), peer));
        let (of, filed) = self.answer();
        assert_eq!(of, id);
        (ticket, filed)
    }

    fn answer(&self) -> (Id, Filed) {
        let mut tries = 0;
        loop {
            if let Some(answer) = self.mailbox.next_filed() {
                return answer;
            }
            tries += 1;
            assert!(tries < 60, "no answer");
            let mut fds = [PollFd::new(self.mailbox.door().bell(), PollFlags::IN)];
            poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })).unwrap();
            self.mailbox.door().quiet();
        }
    }

    fn store(&self, ticket: &Ticket, bytes: &[u8], last: bool) {
        while self.uploads.queue().store(ticket, bytes, last) == Taken::No {
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
    let (ticket, filed) = desk.put(MAC, 9, "dmesg.txt", Some(3000));
    assert_eq!(filed, Filed::Open);
    for (block, last) in [([1; 1468].as_slice(), false), (&[2; 1468], false), (&[3; 64], true)] {
        desk.store(&ticket, block, last);
    }
    assert_eq!(desk.answer().1, Filed::Kept);
    let kept = desk.directory.path().join("inbox/02:00:00:00:00:01/dmesg.txt");
    assert_eq!(std::fs::read(&kept).unwrap(), [vec![1; 1468], vec![2; 1468], vec![3; 64]].concat());
    let told = desk.told.recv();
    assert!(matches!(&told, Ok(Message::Uploaded(MAC, name, 3000)) if name == "dmesg.txt"), "{told:?}");
    assert_eq!(desk.put(MAC, 9, "dmesg.txt", None).1, Filed::Denied(Denial::Exists));
    assert_eq!(std::fs::read(&kept).unwrap().len(), 3000);
}

#[test]
fn what_is_not_taken_is_said_and_leaves_nothing() {
    let mut desk = Desk::new();
    for (mac, name, size, denial) in [
        (MAC, "../x", None, Denial::Name),
        (MAC, "", None, Denial::Name),
        (MAC, "large", Some(200_001), Denial::TooLarge),
        (Mac::default(), "unknown", None, Denial::Sender),
    ] {
        assert_eq!(desk.put(mac, 9, name, size).1, Filed::Denied(denial), "{name}");
    }
    // The machine said less than it sends.
    let (ticket, _) = desk.put(MAC, 9, "grows", Some(10));
    for _ in 0..200 {
        desk.store(&ticket, &[0; 1468], false);
    }
    while let (_, filed) = desk.answer()
        && filed != Filed::Denied(Denial::TooLarge)
    {
        assert_eq!(filed, Filed::Room);
    }
    assert_eq!(desk.files(), Vec::<std::path::PathBuf>::new());
    // Sockets hide the Ethernet address; the kernel knows it.
    let (ticket, filed) = desk.put(Mac::default(), 7, "known", None);
    assert_eq!(filed, Filed::Open);
    desk.store(&ticket, b"", true);
    assert_eq!(desk.answer().1, Filed::Kept);
    assert!(desk.directory.path().join("inbox/02:00:00:00:00:02/known").exists());
}

#[test]
fn who_goes_away_leaves_nothing_and_gives_its_place_back() {
    let mut desk = Desk::new();
    for _ in 0..3 * UPLOADS_MAX {
        // The name is free again at once: an abandoned upload is given up before the next one begins.
        let (ticket, filed) = desk.put(MAC, 9, "same", None);
        assert_eq!(filed, Filed::Open);
        desk.store(&ticket, &[0; 1468], false);
    }
    drop(desk.uploads);
    let inbox = desk.directory.path().join("inbox");
    assert_eq!(std::fs::read_dir(inbox).unwrap().count(), 0);
}

/// Whoever is told that the disk is behind is told when it is not.
#[test]
fn who_is_held_is_told_of_room() {
    let ticket = Places::new(1).take(None).unwrap();
    let taken: Vec<_> = (0..UPLOAD_BLOCKS_MAX).map(|_| ticket.stored()).collect();
    let (early, late) = taken.split_at(UPLOAD_BLOCKS_MAX / 2);
    assert!(
        early.iter().all(|taken| *taken == Taken::Yes) && late.iter().all(|taken| *taken == Taken::Behind)
    );
    let told: Vec<_> = (0..UPLOAD_BLOCKS_MAX).map(|_| ticket.written()).collect();
    assert_eq!(told.iter().position(|told| *told), Some(UPLOAD_BLOCKS_MAX - 1));
    assert_eq!((ticket.stored(), ticket.written()), (Taken::Yes, false));
}

#[test]
fn places_are_bounded_and_come_back() {
    let places = Places::new(2);
    let (one, two) = (places.take(None).unwrap(), places.take(Some(7)).unwrap());
    assert!(places.take(None).is_none() && one != two && two.announced() == Some(7));
    let copy = one.clone();
    drop(one);
    assert!(places.take(None).is_none() && copy.is_abandoned());
    drop(copy);
    assert!(places.take(None).is_some());
}
