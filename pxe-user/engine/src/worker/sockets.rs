//! The datapath over plain sockets: all ports of one interface, in one thread. A packet socket receives DHCP,
//! so another program on this host may use port 67.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use pxe_common::wire;

use super::readiness::Readiness;
use super::{Datapath, DatapathDrops, Net, Received};
use crate::responder::{Blocks, Route};
use pxe_content::boot::Image;
use pxe_nic::drops::drops;
use pxe_nic::interface::Interface;
use pxe_nic::packet::PacketSocket;
use pxe_nic::udp::{Receiver, Sender, UdpError, UdpSocket};
use pxe_proto::datagram::{Datagram, Link, write_frame};
use pxe_proto::mac::Mac;
use pxe_proto::tftp::table::TidPorts;

/// Number of TIDs. A client's address and port already identify its transfers, so a few TIDs are enough to
/// recognise late packets of an old transfer.
const TIDS: u16 = 16;
/// Ports of the first sockets, before those of the TIDs: boot server and TFTP.
const FIXED: [u16; 2] = [wire::PORT_PXE, wire::PORT_TFTP];
/// DHCP requests per turn.
const DHCP_BATCH: usize = 64;
/// The worker polls all sockets after this many turns without a sleep. While many transfers run in lock-step,
/// some socket always has a packet, so the worker does not sleep. A DISCOVER must not wait for that.
const TURNS_MAX: u32 = 4;

/// Largest DHCP frame, in bytes.
const FRAME_MAX: usize = 2048;

/// Keeps a file in memory until the batch that refers to it was sent.
#[derive(Clone)]
struct Held(std::sync::Arc<Image>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// All sockets of one interface.
pub struct SocketPath {
    receiver: Receiver,
    /// Which sockets may have a packet: the UDP sockets in the order of [`SocketNet::sockets`], then DHCP.
    ready: Readiness,
    /// Turns since the last poll.
    turns: u32,
    dhcp_frame: Box<[u8; FRAME_MAX]>,
    net: SocketNet,
}

/// The sending side of a [`SocketPath`].
pub struct SocketNet {
    dhcp: PacketSocket,
    own: Mac,
    sockets: Vec<UdpSocket>,
    sender: Sender<Held>,
    tids: TidPorts,
    /// Number of DHCP replies that the kernel did not accept.
    unsent: u64,
}

impl SocketPath {
    /// Opens the sockets on `interface`. TIDs are taken from `range`, which should lie outside the ephemeral
    /// ports.
    ///
    /// # Errors
    /// [`UdpError`], which names the port.
    pub fn open(interface: &Interface, address: Ipv4Addr, range: TidPorts) -> Result<Self, UdpError> {
        let port = wire::PORT_DHCP_SERVER;
        let dhcp = PacketSocket::open(interface.index, port).map_err(|source| match source.kind() {
            std::io::ErrorKind::PermissionDenied => UdpError::Denied(port),
            _ => UdpError::Io { port, address, source },
        })?;
        // The UDP sockets are bound to our address, so that every interface can have its own. They do not
        // receive a boot-server request that was broadcast, but no client sends one once it has our address
        // from an offer.
        let mut sockets = vec![
            UdpSocket::open(&interface.name, address, wire::PORT_PXE)?,
            UdpSocket::open(&interface.name, address, wire::PORT_TFTP)?,
        ];
        let (tids, more) = open_tids(&interface.name, address, range)?;
        sockets.extend(more);
        Self::new(interface, dhcp, sockets, tids).map_err(|source| UdpError::Io { port, address, source })
    }

    /// Continues with the sockets of another pxed process, in the order of [`Datapath::descriptors`]. Packets
    /// that arrived meanwhile wait in these sockets.
    ///
    /// # Errors
    /// If a descriptor is missing, or is no socket of this kind for one of our ports.
    pub fn adopt(
        interface: &Interface,
        address: Ipv4Addr,
        descriptors: Vec<OwnedFd>,
    ) -> std::io::Result<Self> {
        let mut descriptors = descriptors.into_iter();
        let dhcp = descriptors.next().map(PacketSocket::adopt).ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let sockets =
            descriptors.map(|fd| UdpSocket::adopt(fd, address)).collect::<std::io::Result<Vec<_>>>()?;
        let ports: Vec<u16> = sockets.iter().map(|socket| socket.local().port()).collect();
        let first = ports.get(FIXED.len()).copied().unwrap_or_default();
        let tids = TidPorts { first, count: TIDS };
        if !ports.iter().copied().eq(FIXED.into_iter().chain(first..first.saturating_add(TIDS))) {
            return Err(std::io::Error::other("other ports than ours"));
        }
        Self::new(interface, dhcp, sockets, tids)
    }

    fn new(
        interface: &Interface,
        dhcp: PacketSocket,
        sockets: Vec<UdpSocket>,
        tids: TidPorts,
    ) -> std::io::Result<Self> {
        let ready = Readiness::of(sockets.iter().map(AsFd::as_fd).chain([dhcp.as_fd()]))?;
        let net =
            SocketNet { dhcp, own: Mac(interface.mac), sockets, sender: Sender::default(), tids, unsent: 0 };
        let dhcp_frame = Box::new([0; FRAME_MAX]);
        Ok(Self { receiver: Receiver::default(), ready, turns: 0, dhcp_frame, net })
    }

    /// The range of our TIDs.
    pub fn tids(&self) -> TidPorts {
        self.net.tids
    }
}

/// Opens the first [`TIDS`] consecutive ports in the range that are all free.
fn open_tids(
    interface: &str,
    address: Ipv4Addr,
    range: TidPorts,
) -> Result<(TidPorts, Vec<UdpSocket>), UdpError> {
    let mut last = UdpError::InUse { port: range.first, address };
    for row in 0..range.count / TIDS {
        let first = range.first + row * TIDS;
        let open = |port| UdpSocket::open(interface, address, port);
        match (first..first + TIDS).map(open).collect() {
            Ok(sockets) => return Ok((TidPorts { first, count: TIDS }, sockets)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl SocketNet {
    fn index(&self, port: u16) -> usize {
        let fixed = FIXED.iter().position(|fixed| *fixed == port);
        fixed.unwrap_or_else(|| FIXED.len() + usize::from(port.wrapping_sub(self.tids.first)))
    }
}

impl Net for SocketNet {
    fn control(&mut self, route: &Route, payload: &[u8]) {
        if route.from.port() == wire::PORT_DHCP_SERVER {
            let mut frame = [0; FRAME_MAX];
            let len = write_frame(&mut frame, self.own, &route.link, route.from, route.to, &[], payload);
            self.unsent += u64::from(!self.dhcp.send(&frame[..len]));
            return;
        }
        let index = self.index(route.from.port());
        self.sender.push(&mut self.sockets, index, route.to, payload);
    }

    fn data(&mut self, route: &Route, blocks: &Blocks<'_>) -> u64 {
        let index = self.index(route.from.port());
        let held = Held(std::sync::Arc::clone(blocks.image));
        let (to, count) = (route.to, blocks.count);
        self.sender.push_blocks(&mut self.sockets, index, to, &held, count, |index| blocks.get(index));
        blocks.count
    }

    fn open(&mut self, _client: SocketAddrV4, _port: u16, _slot: u32) -> bool {
        true
    }

    fn close(&mut self, _client: SocketAddrV4, _port: u16) {}
}

impl SocketPath {
    fn receive_dhcp(&mut self, take: &mut dyn FnMut(Received<'_>, &mut SocketNet)) -> usize {
        let (mut count, index) = (0, self.net.sockets.len());
        while self.ready.is_ready(index) && count < DHCP_BATCH {
            let Some(frame) = self.net.dhcp.receive() else {
                self.ready.is_drained(index);
                break;
            };
            // The frame is copied out of the socket's buffer, because the reply borrows the same socket
            // mutably.
            let len = frame.len().min(FRAME_MAX);
            self.dhcp_frame[..len].copy_from_slice(&frame[..len]);
            let received =
                Datagram::parse(&self.dhcp_frame[..len]).map_or_else(Received::Bad, Received::Datagram);
            take(received, &mut self.net);
            count += 1;
        }
        count
    }
}

impl Datapath for SocketPath {
    type Net = SocketNet;

    fn receive(&mut self, take: &mut dyn FnMut(Received<'_>, &mut Self::Net)) -> usize {
        self.turns += 1;
        if self.turns > TURNS_MAX {
            self.turns = 0;
            self.ready.look(None, Duration::ZERO);
        }
        let mut count = self.receive_dhcp(take);
        for index in 0..self.net.sockets.len() {
            if !self.ready.is_ready(index) {
                continue;
            }
            let Self { receiver, net, ready, .. } = self;
            let to = net.sockets[index].local();
            // `receive` borrows only the receiver, so replies can go out through `net` meanwhile.
            let received = receiver
                .receive(&net.sockets[index])
                .map(|batch| {
                    batch
                        .map(|(from, payload)| {
                            take(
                                Received::Datagram(Datagram { link: Link::default(), from, to, payload }),
                                net,
                            );
                        })
                        .count()
                })
                .unwrap_or(0);
            if !receiver.was_full() {
                ready.is_drained(index);
            }
            count += received;
        }
        count
    }

    fn net(&mut self) -> &mut Self::Net {
        &mut self.net
    }

    fn flush(&mut self) {
        self.net.sender.flush(&mut self.net.sockets);
    }

    fn losses(&self) -> DatapathDrops {
        let SocketNet { dhcp, sockets, sender, unsent, .. } = &self.net;
        let ring_full = drops(dhcp.as_fd()) + sockets.iter().map(|socket| drops(socket.as_fd())).sum::<u64>();
        DatapathDrops { ring_full, not_sent: sender.lost() + unsent, ..DatapathDrops::default() }
    }

    fn descriptors(&self) -> std::io::Result<Vec<OwnedFd>> {
        let udp = self.net.sockets.iter().map(AsFd::as_fd);
        std::iter::once(self.net.dhcp.as_fd()).chain(udp).map(|fd| fd.try_clone_to_owned()).collect()
    }

    fn wait(&mut self, other: BorrowedFd<'_>, most: Duration) -> bool {
        self.turns = 0;
        self.ready.look(Some(other), most)
    }
}
