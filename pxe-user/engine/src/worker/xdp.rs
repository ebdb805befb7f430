//! The AF_XDP datapath: the frames of one receive queue.

use std::net::SocketAddrV4;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::offload::{Offload, key};
use super::{Datapath, DatapathDrops, Net, Received};
use crate::responder::{Blocks, Route};
use pxe_nic::programs::{Copies, Transfers};
use pxe_nic::xsk::{Rx, Tx, Xsk};
use pxe_proto::datagram::{Datagram, write_frame};
use pxe_proto::mac::Mac;

/// Frames per turn. A large batch shares the cost of a wake-up; a small batch lets clients and worker run in
/// parallel. With 256 frames, 128 machines in lock-step were a tenth slower, because all clients waited for
/// the worker and then the worker for all clients.
const BATCH: usize = 64;
/// Longest sleep while the TX ring holds frames that the kernel has not taken yet.
const PENDING_POLL: Duration = Duration::from_millis(1);

/// The AF_XDP socket of one receive queue.
pub struct XdpPath {
    rx: Rx,
    net: XdpNet,
    /// DHCP requests that the kernel program copied. `Some` for the first queue only.
    copies: Option<Copies>,
    xsk: std::os::fd::OwnedFd,
}

/// The sending side of an [`XdpPath`].
pub struct XdpNet {
    tx: Tx,
    own: Mac,
    transfers: Transfers,
    offload: Option<Offload>,
    /// Number of control packets that found no room in the TX ring. The client retransmits its request.
    unsent: u64,
}

impl XdpPath {
    /// A datapath for a bound socket. `own` is the interface's Ethernet address, the source of all frames.
    ///
    /// # Errors
    /// If the process has no free file descriptors.
    pub fn new(
        xsk: Xsk,
        own: Mac,
        transfers: Transfers,
        copies: Option<Copies>,
        offload: Option<Offload>,
    ) -> std::io::Result<Self> {
        let fd = xsk.as_fd().try_clone_to_owned()?;
        Ok(Self {
            rx: xsk.rx,
            net: XdpNet { tx: xsk.tx, own, transfers, offload, unsent: 0 },
            copies,
            xsk: fd,
        })
    }
}

impl Net for XdpNet {
    fn control(&mut self, route: &Route, payload: &[u8]) {
        let Self { tx, own, unsent, .. } = self;
        let sent = tx.push(|frame| write_frame(frame, *own, &route.link, route.from, route.to, &[], payload));
        *unsent += u64::from(!sent);
    }

    fn data(&mut self, route: &Route, blocks: &Blocks<'_>) -> u64 {
        let Self { tx, own, .. } = self;
        let bytes = blocks.image.bytes();
        for index in 0..blocks.count {
            let (head, range) = blocks.get(index);
            let block = &bytes[range];
            if !tx.push(|frame| write_frame(frame, *own, &route.link, route.from, route.to, &head, block)) {
                return index;
            }
        }
        blocks.count
    }

    fn open(&mut self, client: SocketAddrV4, port: u16, slot: u32) -> bool {
        // Without the offload, the program does not read the slot.
        let slot = self.offload.as_ref().map_or(slot, |offload| offload.slot(slot));
        self.transfers.insert(key(client, port), slot).is_ok()
    }

    fn close(&mut self, client: SocketAddrV4, port: u16) {
        self.transfers.remove(&key(client, port));
    }

    fn offload(&mut self) -> Option<&mut Offload> {
        self.offload.as_mut()
    }
}

impl Datapath for XdpPath {
    type Net = XdpNet;

    fn receive(&mut self, take: &mut dyn FnMut(Received<'_>, &mut Self::Net)) -> usize {
        let Self { rx, net, copies, .. } = self;
        let mut take = |frame: &[u8]| match Datagram::parse(frame) {
            Ok(datagram) => take(Received::Datagram(datagram), net),
            Err(bad) => take(Received::Bad(bad), net),
        };
        let mut count = rx.drain(BATCH, &mut take);
        if let Some(copies) = copies {
            while count < 2 * BATCH && copies.next(&mut take) {
                count += 1;
            }
        }
        count
    }

    fn net(&mut self) -> &mut Self::Net {
        &mut self.net
    }

    fn flush(&mut self) {
        self.net.tx.flush();
    }

    fn losses(&self) -> DatapathDrops {
        let statistics = self.rx.statistics();
        DatapathDrops {
            ring_full: statistics.rx_ring_full,
            fill_ring_empty: statistics.fill_ring_empty,
            dropped: statistics.rx_dropped + statistics.refused,
            not_sent: statistics.tx_invalid + self.net.unsent,
        }
    }

    fn wait(&mut self, other: BorrowedFd<'_>, most: Duration) -> bool {
        let most = if self.net.tx.has_pending() { most.min(PENDING_POLL) } else { most };
        let fds = [Some(other), Some(self.xsk.as_fd()), self.copies.as_ref().map(|copies| copies.as_fd())];
        let mut fds: arrayvec::ArrayVec<PollFd<'_>, 3> =
            fds.into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        sleep(&mut fds, most);
        !fds[0].revents().is_empty()
    }
}

/// Polls for `most` at most. A signal may end the sleep early; callers treat that as an event.
pub(super) fn sleep(fds: &mut [PollFd<'_>], most: Duration) {
    let timeout = Timespec { tv_sec: most.as_secs() as i64, tv_nsec: i64::from(most.subsec_nanos()) };
    let _ = poll(fds, Some(&timeout));
}
