//! The loader: one thread that touches the file system, so that no worker ever waits for a disk.

use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::mail::{Loaded, LoaderQueue, Order};
use crate::boot::{Catalogue, Changes};

/// Files on network file systems change without a word to inotify: look again this often, in seconds.
const RECHECK_EVERY: i64 = 5;

/// Loads what workers ask for, and follows changes of the files, until the queue says stop.
///
/// `refresh` is called when files may have come or gone.
pub fn run(catalogue: &Catalogue, queue: &Arc<LoaderQueue>, refresh: impl Fn()) {
    while !queue.door().is_stopped() {
        let mut readable = [false; 2];
        {
            let mut fds = vec![PollFd::from_borrowed_fd(queue.door().bell(), PollFlags::IN)];
            fds.extend(catalogue.fd().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            match poll(&mut fds, Some(&Timespec { tv_sec: RECHECK_EVERY, tv_nsec: 0 })) {
                Ok(0) => {
                    report(&catalogue.recheck());
                    refresh();
                }
                Ok(_) => {
                    for (readable, fd) in readable.iter_mut().zip(&fds) {
                        *readable = !fd.revents().is_empty();
                    }
                }
                Err(_) => {} // interrupted
            }
        }
        if readable[0] {
            queue.door().quiet();
        }
        if readable[1] {
            report(&catalogue.changed());
            refresh();
        }
        while let Some(order) = queue.pop() {
            match order {
                Order::Load { mailbox, id, name } => {
                    let file = catalogue.load(&name);
                    mailbox.answer(Loaded { id, name, file });
                }
                Order::Shelve { shelf, image, blksize } => shelf.put(&image, blksize),
            }
        }
    }
}

fn report(changes: &Changes) {
    for name in &changes.updated {
        tracing::info!(event = "file_changed", file = %name, "a boot file changed: new transfers get the new one");
    }
    for (name, refusal) in &changes.removed {
        tracing::warn!(event = "file_gone", file = %name, reason = refusal.as_str(), "{}", refusal.remedy());
    }
    for name in &changes.unsettled {
        tracing::debug!(event = "file_unsettled", file = %name, "a boot file is being written: the old one stays meanwhile");
    }
}
