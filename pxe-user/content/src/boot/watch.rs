//! A wrapper of inotify, which reports the directory entries that changed.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::tree::Dir;

/// The kernel's number of a watched directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct WatchId(i32);

/// A change in a watched directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The entry of this name in the directory was created, removed or renamed, or a program has closed the
    /// file after it could write to it.
    Entry(WatchId, Vec<u8>),
    /// The attributes of the entry of this name changed: its owner, its mode, its times or its links.
    Attributes(WatchId, Vec<u8>),
    /// A program writes to the file of this name in the directory, and has not closed it yet.
    Writing(WatchId, Vec<u8>),
    /// The directory itself was moved or removed. Its watch may have ended.
    Directory(WatchId),
    /// The kernel dropped events, because its queue was full.
    Lost,
}

#[derive(Debug)]
pub(super) struct Watcher(OwnedFd);

impl Watcher {
    pub(super) fn new() -> Result<Self, Errno> {
        inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map(Self)
    }

    /// Watches an open directory. The watch uses the descriptor, so it is on the directory that was opened,
    /// even if its path leads elsewhere now. With `contents`, the watch also reports files in the directory
    /// that are written, were written, or whose attributes changed. A written file is complete when it is
    /// closed: [`Event::Writing`] comes before that. A file that has lost its name in the directory causes no
    /// more events, even if a program still writes to it.
    pub(super) fn add(&self, dir: &Dir, contents: bool) -> Result<WatchId, Errno> {
        let mut flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK
            | WatchFlags::MASK_ADD;
        if contents {
            flags |= WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB;
        }
        let path = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
        inotify::add_watch(&self.0, path.as_str(), flags).map(WatchId)
    }

    pub(super) fn remove(&self, id: WatchId) {
        // This fails only if the kernel has removed the watch already, because the directory is gone.
        let _gone = inotify::remove_watch(&self.0, id.0);
    }

    /// Reads all pending events.
    pub(super) fn drain(&self) -> Vec<Event> {
        let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut events = Vec::new();
        // The loop ends at EAGAIN: there are no more events.
        while let Ok(event) = reader.next() {
            // A watch has ended, because pxed removed it, or after an event that says why.
            if event.events().contains(ReadFlags::IGNORED) {
                continue;
            }
            let id = WatchId(event.wd());
            events.push(match event.file_name() {
                _ if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => Event::Lost,
                Some(name) if event.events().contains(ReadFlags::MODIFY) => {
                    Event::Writing(id, name.to_bytes().to_vec())
                }
                Some(name) if event.events().contains(ReadFlags::ATTRIB) => {
                    Event::Attributes(id, name.to_bytes().to_vec())
                }
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
