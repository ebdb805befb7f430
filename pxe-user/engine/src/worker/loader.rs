//! The loader thread. Only this thread reads boot files and generates files for machines, so that no worker
//! waits for a disk.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::queues::{Loaded, LoaderQueue, LoaderRequest};
use crate::clock::Clock;
use pxe_content::boot::{Catalogue, Changes, FileName, Image, Refusal, ServedAt};
use pxe_fleet::event::Peer;
use pxe_fleet::handle::{FactsRequest, FleetHandle};
use pxe_proto::mac::Mac;

/// inotify does not report changes of files on network file systems, so the loader checks all files this
/// often.
const RECHECK_EVERY: Duration = Duration::from_secs(5);
/// The pause before the loader reads inotify again if all events were writes. A large file causes very many of
/// them.
const WRITING_PAUSE: Duration = Duration::from_millis(20);

/// What the loader thread needs.
pub struct Loader {
    /// The catalogue that pxed serves. A reload of the configuration replaces it.
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    /// The queue of requests from the workers.
    pub queue: Arc<LoaderQueue>,
    /// The fleet, which knows the machines that files are generated for.
    pub fleet: FleetHandle,
    /// Our HTTP port, for links in generated files. `None` if pxed does not serve HTTP.
    pub http: Option<u16>,
    /// The daemon's clock.
    pub clock: Clock,
    /// Called in each turn of the loop: see [`crate::heartbeat`].
    pub alive: Box<dyn Fn() + Send>,
}

/// Loads the files that workers request, and follows changes of files, until the queue's waker is stopped.
///
/// Calls `refresh` after each check of the files, because files may have been added or removed.
pub fn run(loader: &Loader, refresh: impl Fn()) {
    let queue = &loader.queue;
    let mut recheck_at = loader.clock.now() + RECHECK_EVERY;
    let mut is_pausing = false;
    while !queue.waker().is_stopped() {
        (loader.alive)();
        let catalogue = loader.catalogue.load_full();
        let mut readable = [false; 2];
        {
            let mut fds = vec![PollFd::new(queue.waker().event_fd(), PollFlags::IN)];
            let inotify = catalogue.fd().filter(|_| !is_pausing);
            fds.extend(inotify.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            let left = recheck_at.since(loader.clock.now());
            let timeout = if is_pausing { left.min(WRITING_PAUSE) } else { left };
            let timeout = Timespec::try_from(timeout).unwrap_or_default();
            // An error is an interruption: nothing is readable then.
            if poll(&mut fds, Some(&timeout)).is_ok() {
                for (readable, fd) in readable.iter_mut().zip(&fds) {
                    *readable = !fd.revents().is_empty();
                }
            }
        }
        is_pausing = false;
        if readable[0] {
            queue.waker().clear();
        }
        let is_due = loader.clock.now() >= recheck_at;
        if readable[1] || is_due {
            let changes = if is_due { catalogue.recheck() } else { catalogue.changed() };
            report(&changes);
            let has_news = changes.entries || !changes.updated.is_empty() || !changes.removed.is_empty();
            if is_due || has_news {
                refresh();
            }
            is_pausing = readable[1] && !changes.entries;
        }
        if is_due {
            recheck_at = loader.clock.now() + RECHECK_EVERY;
        }
        while !queue.waker().is_stopped()
            && let Some(request) = queue.pop()
        {
            match request {
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
    /// Loads a file, or generates it for the machine that asks.
    fn load(&self, name: &FileName, peer: &Peer, server: Ipv4Addr) -> Result<Arc<Image>, Refusal> {
        let here = ServedAt { server, http: self.http };
        let silent = Cell::new(false);
        let facts = |named: Option<Mac>| {
            // The fleet handles messages in the order in which they were sent, so it already knows the events
            // that this machine caused before: see `fleet::handle::Message`.
            let asked = self.fleet.facts_blocking(FactsRequest { named, peer: *peer });
            asked.inspect_err(|_| silent.set(true)).ok().flatten()
        };
        let loaded = self.catalogue.load().load_for(name, here, facts);
        // The fleet did not answer in time, so the file may exist. With this error the machine may try again.
        if silent.get() { Err(Refusal::Io(Errno::AGAIN)) } else { loaded }
    }
}

fn report(changes: &Changes) {
    for name in &changes.updated {
        tracing::info!(event = "file_changed", file = %name, "a boot file changed: new transfers get the new version");
    }
    for (name, refusal) in &changes.removed {
        tracing::warn!(event = "file_gone", file = %name, reason = refusal.as_str(), "pxed no longer serves this boot file: {}", refusal.remedy());
    }
    for name in &changes.unsettled {
        tracing::debug!(event = "file_unsettled", file = %name, "a boot file is being written: transfers get the old version until the writer closes it");
    }
}
