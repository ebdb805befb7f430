//! inotify: which directory entries changed.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::tree::Dir;

/// The kernel's number for a watched directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct WatchId(i32);

/// What happened in watched directories.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The entry of this name in that directory is not what it was, or was written to.
    Entry(WatchId, Vec<u8>),
    /// The directory itself moved or went away; it may not be watched any more.
    Directory(WatchId),
    /// Events were lost.
    Lost,
}

#[derive(Debug)]
pub(super) struct Watcher(OwnedFd);

impl Watcher {
    pub(super) fn new() -> Result<Self, Errno> {
        inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map(Self)
    }

    /// Watches an open directory: by its descriptor, so that it is the one that was opened. `contents`: also for files
    /// in it that are written. Not while they are written: they are whole when they are closed.
    pub(super) fn add(&self, dir: &Dir, contents: bool) -> Result<WatchId, Errno> {
        let mut flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::MASK_ADD;
        if contents {
            flags |= WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB;
        }
        let path = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
        inotify::add_watch(&self.0, path.as_str(), flags).map(WatchId)
    }

    pub(super) fn remove(&self, id: WatchId) {
        // It fails only if the kernel removed it already, as the directory is gone.
        let _gone = inotify::remove_watch(&self.0, id.0);
    }

    /// All events that wait.
    pub(super) fn drain(&self) -> Vec<Event> {
        let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut events = Vec::new();
        // The error is EAGAIN: no more events.
        while let Ok(event) = reader.next() {
            let id = WatchId(event.wd());
            events.push(match event.file_name() {
                _ if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => Event::Lost,
                Some(name) => Event::Entry(id, name.to_bytes().to_vec()),
                None => Event::Directory(id),
            });
        }
        events
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
