//! The kernel's small part of the protocol (`pxe_common::steady`) together with the state machine: a
//! simulated kernel continues transfers in virtual time, and clients must not see a difference.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;

use pxe_common::abi::Transfer;
use pxe_common::steady;
use pxe_content::boot::Image;
use pxe_engine::counters::Counter;
use pxe_engine::responder::{Blocks, OffloadAnswer, OffloadProgress, OffloadRequest, Route};
use pxe_proto::datagram::Link;
use pxe_proto::tftp::Block;
use pxe_proto::tftp::table::Id;
use pxe_proto::time::Timestamp;

use crate::clients::{self, State};
use crate::network::Weather;
use crate::simulation::{CALM, Scene, sizes};
use crate::support::{MAC, Sent};

/// A transfer and its file, as the kernel knows them.
struct File {
    slot: u32,
    transfer: Transfer,
    image: Arc<Image>,
    blksize: u16,
}

/// The program in `pxe-ebpf/src/offload`, but without packet headers.
pub(crate) struct Kernel {
    windowsize: u32,
    files: BTreeMap<(SocketAddrV4, u16), File>,
    /// By slot: the transfer's word, and when it last changed.
    progress: BTreeMap<u32, (u64, Timestamp)>,
    /// The file is in the kernel. The first offer is declined, because the loader has not put the file there
    /// yet.
    prepared: bool,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.progress.fmt(f)
    }
}

impl Kernel {
    pub(crate) fn new(windowsize: u32) -> Self {
        Self { windowsize, files: BTreeMap::new(), progress: BTreeMap::new(), prepared: false }
    }

    pub(crate) fn offload(&mut self, offer: &OffloadRequest<'_>) -> OffloadAnswer {
        let (slot, generation) = (offer.id.slot(), offer.id.generation());
        let windowsize = u32::from(offer.steady.windowsize);
        if windowsize > self.windowsize {
            return OffloadAnswer::Never;
        }
        if !self.prepared {
            self.prepared = true;
            return OffloadAnswer::NotYet;
        }
        let last = u32::try_from(offer.steady.last.0).unwrap();
        let transfer = Transfer { generation, file: 0, last, windowsize };
        let file = File { slot, transfer, image: Arc::clone(offer.image), blksize: offer.blksize };
        let known = self.files.insert((offer.client, offer.port), file);
        let known = known.is_some_and(|known| known.transfer.generation == generation);
        assert_eq!(known, offer.again, "an offer that is not told right");
        let sent = u32::try_from(offer.steady.sent.0).unwrap();
        self.progress.insert(slot, (steady::word(generation, sent), Timestamp::default()));
        OffloadAnswer::Accepted
    }

    pub(crate) fn offload_progress(&self, id: Id) -> Option<OffloadProgress> {
        let (word, heard) = *self.progress.get(&id.slot())?;
        let sent = Block(u64::from(steady::sent(word, id.generation())?));
        Some(OffloadProgress { sent, heard })
    }

    pub(crate) fn reclaim(&mut self, id: Id) -> Option<OffloadProgress> {
        let carried = self.offload_progress(id);
        self.progress.remove(&id.slot());
        carried
    }

    /// The packets that the kernel sends in reply, if it replies.
    pub(crate) fn answer(
        &mut self,
        now: Timestamp,
        from: SocketAddrV4,
        to: SocketAddrV4,
        payload: &[u8],
    ) -> Option<Vec<Sent>> {
        let [0, 4, high, low] = payload else { return None };
        let file = self.files.get(&(from, to.port()))?;
        let (word, heard) = self.progress.get_mut(&file.slot)?;
        let window = steady::next(*word, &file.transfer, u16::from_be_bytes([*high, *low]))?;
        (*word, *heard) = (window.word, now);
        let route = Route { link: Link::untagged(MAC), from: to, to: from };
        let first = Block(u64::from(window.first));
        let blocks =
            Blocks { image: &file.image, blksize: file.blksize, first, count: u64::from(window.count) };
        let sent = (0..blocks.count).map(|index| {
            let (header, range) = blocks.get(index);
            Sent { at: now, route, payload: [&header[..], &file.image.bytes()[range]].concat() }
        });
        Some(sent.collect())
    }
}

/// In lock-step, each packet and its time are the same with and without the kernel, on any network.
#[test]
fn to_a_client_in_lock_step_the_kernel_cannot_be_told_from_the_daemon() {
    let mut carried = 0;
    for manners in clients::ALL
        .into_iter()
        .filter(|manners| !manners.options.iter().any(|(name, _)| *name == "windowsize"))
    {
        for (loss, duplicates, jitter) in [(0, 0, 0), (20, 0, 0), (50, 20, 300), (100, 50, 5000)] {
            for seed in 0..8 {
                let sizes = sizes(&manners);
                let size = sizes[sizes.len() - 1 - seed as usize % 2];
                let weather = Weather { loss, duplicates, jitter, ..CALM };
                let play = |kernel| Scene { seed, kernel, ..Scene::new(manners, size, weather) }.play();
                let (without, with) = (play(0), play(64));
                let trace = |sent: &[Sent]| -> Vec<_> {
                    // The first TID is random, so our ports are not compared.
                    sent.iter().map(|sent| (sent.at, sent.route.to, sent.payload.clone())).collect()
                };
                let case = format!("{}, {size} bytes, {weather:?}, seed {seed}", manners.name);
                assert!(trace(&without.sent) == trace(&with.sent), "{case}: other packets");
                assert_eq!(without.lab.outcomes(), with.lab.outcomes(), "{case}");
                for what in
                    [Counter::DataPackets, Counter::DataBytes, Counter::DataRepeated, Counter::Timeouts]
                {
                    assert_eq!(without.lab.count(what), with.lab.count(what), "{case}: {what:?}");
                }
                carried += with.lab.count(Counter::DataByKernel);
            }
        }
    }
    assert!(carried > 5000, "the kernel sent {carried} blocks only");
}

/// On a calm network the kernel sends all but a few blocks at both ends, in windows as well.
#[test]
fn the_kernel_sends_nearly_everything() {
    for manners in clients::ALL {
        let size = 100 * 1468;
        let story = Scene { kernel: 64, ..Scene::new(manners, size, CALM) }.play();
        assert_eq!(story.client.state, State::Done, "{}", manners.name);
        let all = story.lab.count(Counter::DataPackets);
        let own = all - story.lab.count(Counter::DataByKernel);
        // The daemon sends the first window; the second, because the file was not in the kernel yet; and one
        // more if there was no OACK, because the kernel does not send to an address that has not sent
        // anything since its request.
        assert!(own <= 3 * story.client.window.max(1), "{}: {own} of {all}", manners.name);
    }
}
