//! The loader: one thread that touches the file system, so that no worker ever waits for a disk.

use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};

use super::mail::{Loaded, LoaderQueue};
use crate::boot::Catalogue;

/// Loads what workers ask for, and follows changes of the files, until the queue says stop.
pub fn run(catalogue: &Catalogue, queue: &Arc<LoaderQueue>) {
    while !queue.is_stopped() {
        let mut readable = [false; 2];
        {
            let mut fds = vec![PollFd::from_borrowed_fd(queue.bell(), PollFlags::IN)];
            fds.extend(catalogue.fd().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            if poll(&mut fds, None).is_ok() {
                for (readable, fd) in readable.iter_mut().zip(&fds) {
                    *readable = !fd.revents().is_empty();
                }
            }
        }
        if readable[0] {
            queue.quiet();
        }
        if readable[1] {
            catalogue.changed();
        }
        while let Some(order) = queue.pop() {
            let file = catalogue.load(&order.name);
            order.mailbox.answer(Loaded { id: order.id, name: order.name, file });
        }
    }
}
