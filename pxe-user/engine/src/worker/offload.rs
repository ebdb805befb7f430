//! A worker's part of the kernel offload: gives transfers to the kernel and takes them back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrayvec::ArrayVec;
use pxe_common::abi::{self, PAYLOAD_MAX, Transfer, TransferKey};

use super::offload_cache::{CacheLookup, KernelFile, OffloadCache};
use super::queues::{LoaderQueue, LoaderRequest};
use crate::clock::Clock;
use crate::responder::{OffloadAnswer, OffloadProgress, OffloadRequest};
use pxe_nic::offload::progress::{Progress, Reached};
use pxe_proto::tftp::Block;
use pxe_proto::tftp::packet::DATA_HEADER_LEN;
use pxe_proto::tftp::table::Id;
use pxe_proto::time::Timestamp;

/// If no block that the kernel sent has ever arrived, and this many were lost to a worker, the kernel gets no
/// more transfers for [`PAUSE`].
const LOSSES_MAX: u32 = 6;
/// How long the kernel then gets no transfers. The pause ends because forged requests, whose senders never
/// answer, look the same as an interface where nothing arrives. On an interface where in fact nothing
/// arrives, a few machines wait for a second after each pause.
const PAUSE: Duration = Duration::from_secs(60);

/// Transfers with smaller blocks stay in the daemon: a small block takes as much of the kernel's memory as a
/// large one, and no firmware asks for it.
const BLKSIZE_MIN: usize = 512;

/// What the workers of an interface share.
#[derive(Clone, Debug)]
pub struct Common {
    /// How far the kernel has come with each transfer.
    pub progress: Arc<Progress>,
    /// The files that the kernel can send.
    pub cache: Arc<OffloadCache>,
    /// The loader's queue. The loader puts files into [`Self::cache`].
    pub loader: Arc<LoaderQueue>,
    /// Whether the kernel's blocks arrive at clients.
    pub trust: Arc<OffloadTrust>,
    /// The largest window, in blocks, that the kernel sends for one ACK: see [`windowsize_max`].
    pub windowsize: u16,
    /// The daemon's clock.
    pub clock: Clock,
}

/// Whether packets that the kernel sends arrive. On some virtual interfaces they are lost without any error.
#[derive(Debug, Default)]
pub struct OffloadTrust {
    proven: AtomicBool,
    /// The kernel gets no transfers until this time, in microseconds of the workers' clock.
    paused_until: AtomicU64,
    /// The warning was logged.
    warned: AtomicBool,
}

/// One worker's view of [`OffloadTrust`].
#[derive(Debug)]
struct LossTracker {
    trust: Arc<OffloadTrust>,
    /// A copy of [`OffloadTrust::proven`], which never becomes false again.
    proven: bool,
    count: u32,
}

impl LossTracker {
    fn new(trust: Arc<OffloadTrust>) -> Self {
        Self { trust, proven: false, count: 0 }
    }

    /// Records that a block of the kernel has arrived, or was lost.
    fn arrived(&mut self, arrived: bool, now: Timestamp) {
        if self.proven {
            return;
        }
        if arrived || self.trust.proven.load(Ordering::Relaxed) {
            self.proven = true;
            return self.trust.proven.store(true, Ordering::Relaxed);
        }
        self.count += 1;
        if self.count < LOSSES_MAX {
            return;
        }
        self.count = 0;
        self.trust.paused_until.fetch_max((now + PAUSE).as_micros(), Ordering::Relaxed);
        if !self.trust.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "no block that the kernel offload sent on this interface has arrived: pxed sends all blocks itself, \
                 and tries the offload again after a minute"
            );
        }
    }

    /// Whether the kernel gets no transfers at the moment.
    fn is_paused(&self, now: Timestamp) -> bool {
        let trust = &self.trust;
        !self.proven
            && now.as_micros() < trust.paused_until.load(Ordering::Relaxed)
            && !trust.proven.load(Ordering::Relaxed)
    }
}

/// The kernel offload of one worker.
pub struct Offload {
    common: Common,
    /// Index of this worker's first slot in the kernel's maps.
    base: u32,
    /// Files and block sizes that this worker has requested from the loader lately.
    asked: ArrayVec<(u64, u16), 64>,
    losses: LossTracker,
}

impl Offload {
    /// The offload of a worker whose slots in the kernel's maps begin at `base`.
    pub fn new(common: Common, base: u32) -> Self {
        let losses = LossTracker::new(Arc::clone(&common.trust));
        Self { common, base, asked: ArrayVec::new(), losses }
    }

    /// See [`KernelOffload::offload`](crate::responder::KernelOffload::offload).
    pub fn offload(&mut self, offer: &OffloadRequest<'_>) -> OffloadAnswer {
        let steady = &offer.steady;
        let (Ok(sent), Ok(last)) = (u32::try_from(steady.sent.0), u32::try_from(steady.last.0)) else {
            return OffloadAnswer::Never;
        };
        let fits = (BLKSIZE_MIN..=PAYLOAD_MAX - DATA_HEADER_LEN).contains(&usize::from(offer.blksize));
        if !fits
            || steady.windowsize > self.common.windowsize
            || self.losses.is_paused(self.common.clock.now())
        {
            return OffloadAnswer::Never;
        }
        let slot = self.slot(offer.id.slot());
        if !offer.again {
            let file = match self.common.cache.find(offer.image, offer.blksize) {
                CacheLookup::Absent => return self.ask(offer),
                found => {
                    // If the file is removed from the cache later, this worker must request it again.
                    self.asked.retain(|asked| *asked != (offer.image.id(), offer.blksize));
                    let CacheLookup::Cached(file) = found else { return OffloadAnswer::Never };
                    file
                }
            };
            let KernelFile { index: file, tag } = file;
            let windowsize = u32::from(steady.windowsize);
            let generation = offer.id.generation();
            let transfer = Transfer { generation, file, last, windowsize };
            self.common.progress.name(slot, &key(offer.client, offer.port), &transfer, tag);
        }
        self.common.progress.offload(slot, offer.id.generation(), sent);
        OffloadAnswer::Accepted
    }

    /// The index, in the kernel's maps, of a slot in this worker's table.
    pub fn slot(&self, slot: u32) -> u32 {
        self.base + slot
    }

    /// Requests a file from the loader, unless this worker has requested it already.
    fn ask(&mut self, offer: &OffloadRequest<'_>) -> OffloadAnswer {
        let wanted = (offer.image.id(), offer.blksize);
        if self.asked.contains(&wanted) {
            return OffloadAnswer::NotYet;
        }
        let (cache, image) = (Arc::clone(&self.common.cache), Arc::clone(offer.image));
        if self.common.loader.push(LoaderRequest::Cache { cache, image, blksize: offer.blksize }) {
            if self.asked.is_full() {
                self.asked.clear();
            }
            self.asked.push(wanted);
        }
        OffloadAnswer::NotYet
    }

    /// See [`KernelOffload::offload_progress`](crate::responder::KernelOffload::offload_progress).
    pub fn offload_progress(&self, id: Id) -> Option<OffloadProgress> {
        let reached = self.common.progress.offload_progress(self.slot(id.slot()), id.generation())?;
        Some(self.carried(reached))
    }

    /// See [`KernelOffload::reclaim`](crate::responder::KernelOffload::reclaim).
    pub fn reclaim(&mut self, id: Id) -> Option<OffloadProgress> {
        let reached = self.common.progress.reclaim(self.slot(id.slot()), id.generation())?;
        Some(self.carried(reached))
    }

    fn carried(&self, reached: Reached) -> OffloadProgress {
        let heard = self.common.clock.at_monotonic(reached.heard);
        OffloadProgress { sent: Block(u64::from(reached.sent)), heard }
    }

    /// See [`KernelOffload::arrived`](crate::responder::KernelOffload::arrived).
    pub fn arrived(&mut self, arrived: bool) {
        self.losses.arrived(arrived, self.common.clock.now());
    }
}

/// The key of a transfer in the kernel's maps.
pub fn key(client: std::net::SocketAddrV4, port: u16) -> TransferKey {
    TransferKey {
        client_addr: client.ip().octets(),
        client_port: client.port().to_be_bytes(),
        server_port: port.to_be_bytes(),
    }
}

/// The largest window, in blocks, that the kernel sends for one ACK. Only the tcx program, if `tcx` is true,
/// sends more than one block.
pub fn windowsize_max(tcx: bool) -> u16 {
    if tcx { u16::try_from(abi::WINDOWSIZE_MAX).unwrap_or(u16::MAX) } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    /// Six machines that never answer, or six forged requests, must not end the offload forever.
    #[test]
    fn the_kernel_rests_for_a_while_and_comes_back() {
        let trust: Arc<OffloadTrust> = Arc::default();
        let mut worker = LossTracker::new(Arc::clone(&trust));
        let other = LossTracker::new(trust);
        for round in 0..3 {
            let start = round * 100;
            for lost in 0..LOSSES_MAX {
                assert!(!worker.is_paused(at(start)), "round {round}, {lost} lost");
                worker.arrived(false, at(start));
            }
            for losses in [&worker, &other] {
                assert!(losses.is_paused(at(start)) && losses.is_paused(at(start + 59)));
                assert!(!losses.is_paused(at(start + 60)), "round {round}");
            }
        }
    }

    #[test]
    fn where_a_block_has_arrived_losses_are_the_networks() {
        let trust: Arc<OffloadTrust> = Arc::default();
        let [mut worker, mut other] = [(); 2].map(|()| LossTracker::new(Arc::clone(&trust)));
        (0..LOSSES_MAX).for_each(|_| worker.arrived(false, at(1)));
        assert!(other.is_paused(at(2)));
        other.arrived(true, at(2));
        assert!(!worker.is_paused(at(2)) && !other.is_paused(at(2)));
        (0..100).for_each(|_| worker.arrived(false, at(3)));
        assert!(!worker.is_paused(at(3)));
    }
}
