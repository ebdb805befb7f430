//! The loader: one thread that touches the file system, so that no worker ever waits for a disk.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::queues::{Loaded, LoaderQueue, LoaderRequest};
use pxe_content::boot::{Catalogue, Changes, FileName, Image, Refusal, ServedAt};
use pxe_fleet::event::Peer;
use pxe_fleet::handle::{FactsRequest, FleetHandle};
use pxe_proto::mac::Mac;

/// Files on network file systems change without a word to inotify: look again this often, in seconds.
const RECHECK_EVERY: i64 = 5;

/// What the loader works with.
pub struct Loader {
    /// What is served; it is replaced when the configuration is read again.
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    /// What workers ask for.
    pub queue: Arc<LoaderQueue>,
    /// Who knows the machines that files are written for.
    pub fleet: FleetHandle,
    /// Our HTTP port, if there is one.
    pub http: Option<u16>,
    /// Called at each turn: see [`crate::heartbeat`].
    pub alive: Box<dyn Fn() + Send>,
}

/// Loads what workers ask for, and follows changes of the files, until the queue says stop.
///
/// `refresh` is called when files may have come or gone.
pub fn run(loader: &Loader, refresh: impl Fn(&Catalogue)) {
    let queue = &loader.queue;
    while !queue.waker().is_stopped() {
        (loader.alive)();
        let catalogue = loader.catalogue.load_full();
        let mut readable = [false; 2];
        {
            let mut fds = vec![PollFd::new(queue.waker().event_fd(), PollFlags::IN)];
            fds.extend(catalogue.fd().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            match poll(&mut fds, Some(&Timespec { tv_sec: RECHECK_EVERY, tv_nsec: 0 })) {
                Ok(0) => {
                    report(&catalogue.recheck());
                    refresh(&catalogue);
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
            queue.waker().clear();
        }
        if readable[1] {
            report(&catalogue.changed());
            refresh(&catalogue);
        }
        while let Some(order) = queue.pop() {
            match order {
                LoaderRequest::Load { queues, id, name, peer, server } => {
                    let file = loader.load(&name, &peer, server);
                    queues.push_loaded(Loaded { id, name, file });
                }
                LoaderRequest::Cache { cache, image, blksize } => cache.put(&image, blksize),
            }
            (loader.alive)();
        }
    }
}

impl Loader {
    /// Loads a file, or writes it for the machine that asks.
    fn load(&self, name: &FileName, peer: &Peer, server: Ipv4Addr) -> Result<Arc<Image>, Refusal> {
        let here = ServedAt { server, http: self.http };
        let silent = Cell::new(false);
        let facts = |named: Option<Mac>| {
            // The fleet knows all that was said before this: see `fleet::handle::Message`.
            let asked = self.fleet.facts_blocking(FactsRequest { named, peer: *peer });
            asked.inspect_err(|_| silent.set(true)).ok().flatten()
        };
        let loaded = self.catalogue.load().load_for(name, here, facts);
        // Not known now is not absent: the machine may try again.
        if silent.get() { Err(Refusal::Io(Errno::AGAIN)) } else { loaded }
    }
}

fn report(changes: &Changes) {
    for name in &changes.updated {
        tracing::info!(event = "file_changed", file = %name, "a boot file changed: new transfers get the new version");
    }
    for (name, refusal) in &changes.removed {
        tracing::warn!(event = "file_gone", file = %name, reason = refusal.as_str(), "{}", refusal.remedy());
    }
    for name in &changes.unsettled {
        tracing::debug!(event = "file_unsettled", file = %name, "a boot file is being written: transfers get the old version until then");
    }
}
