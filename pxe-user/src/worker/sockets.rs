//! The socket datapath: all ports of one interface, in one thread.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use pxe_common::wire;
use rustix::event::{PollFd, PollFlags};

use super::xdp::sleep;
use super::{Datapath, Net, Received};
use crate::boot::Image;
use crate::datagram::{Datagram, Link};
use crate::nic::udp::{Receiver, Sender, UdpError, UdpSocket};
use crate::responder::{Blocks, Route};
use crate::tftp::table::TidPorts;

/// Ports for transfers: a client's address and port tell its transfers apart already, so a few suffice to make late
/// packets of an old one recognisable.
const TIDS: u16 = 16;
/// The sockets in front of those: DHCP, boot server, TFTP.
const FIXED: [u16; 3] = [wire::PORT_DHCP_SERVER, wire::PORT_PXE, wire::PORT_TFTP];

/// A file that a batch holds on to until it is sent.
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
    ready: Vec<bool>,
    net: SocketNet,
}

/// Its sending side.
pub struct SocketNet {
    sockets: Vec<UdpSocket>,
    sender: Sender<Held>,
    tids: TidPorts,
}

impl SocketPath {
    /// Opens the ports on `interface`. TIDs are taken from `range`, which should lie outside the ephemeral ports.
    /// `shared` admits a DHCP server of this host on port 67.
    ///
    /// # Errors
    /// [`UdpError`], with the port.
    pub fn open(interface: &str, address: Ipv4Addr, range: TidPorts, shared: bool) -> Result<Self, UdpError> {
        // DHCP and boot-server requests may be broadcast; files are asked for at our address only.
        let mut sockets = vec![
            UdpSocket::open(interface, Ipv4Addr::UNSPECIFIED, wire::PORT_DHCP_SERVER, shared)?,
            UdpSocket::open(interface, Ipv4Addr::UNSPECIFIED, wire::PORT_PXE, false)?,
            UdpSocket::open(interface, address, wire::PORT_TFTP, false)?,
        ];
        let (tids, more) = open_tids(interface, address, range)?;
        sockets.extend(more);
        let ready = vec![true; sockets.len()];
        let net = SocketNet { sockets, sender: Sender::default(), tids };
        Ok(Self { receiver: Receiver::default(), ready, net })
    }

    /// The ports that transfers use.
    pub fn tids(&self) -> TidPorts {
        self.net.tids
    }
}

/// The first row of free ports in the range.
fn open_tids(
    interface: &str,
    address: Ipv4Addr,
    range: TidPorts,
) -> Result<(TidPorts, Vec<UdpSocket>), UdpError> {
    let mut last = UdpError::InUse { port: range.first, address };
    for row in 0..range.count / TIDS {
        let first = range.first + row * TIDS;
        let open = |port| UdpSocket::open(interface, address, port, false);
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
        let index = self.index(route.from.port());
        self.sender.push(&mut self.sockets, index, *route.from.ip(), route.to, payload);
    }

    fn data(&mut self, route: &Route, blocks: &Blocks<'_>) -> u64 {
        let index = self.index(route.from.port());
        let held = Held(std::sync::Arc::clone(blocks.image));
        let (from, to, count) = (*route.from.ip(), route.to, blocks.count);
        self.sender.push_blocks(&mut self.sockets, index, from, to, &held, count, |index| blocks.get(index));
        blocks.count
    }

    fn open(&mut self, _client: SocketAddrV4, _port: u16, _slot: u32) -> bool {
        true
    }

    fn close(&mut self, _client: SocketAddrV4, _port: u16) {}
}

impl Datapath for SocketPath {
    type Net = SocketNet;

    fn receive(&mut self, take: &mut dyn FnMut(Received<'_>, &mut Self::Net)) -> usize {
        let mut count = 0;
        for index in 0..self.ready.len() {
            if !self.ready[index] {
                continue;
            }
            let Self { receiver, net, ready } = self;
            let port = net.sockets[index].port();
            // The socket is lent out while its datagrams are answered through the others.
            let received = receiver
                .receive(&net.sockets[index])
                .map(|batch| {
                    batch
                        .map(|(from, to, payload)| {
                            let to = SocketAddrV4::new(to, port);
                            take(
                                Received::Datagram(Datagram { link: Link::default(), from, to, payload }),
                                net,
                            );
                        })
                        .count()
                })
                .unwrap_or(0);
            ready[index] = received > 0;
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

    fn wait(&mut self, other: BorrowedFd<'_>, most: Duration) {
        let mut fds: Vec<PollFd<'_>> = self
            .net
            .sockets
            .iter()
            .map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN))
            .collect();
        fds.push(PollFd::from_borrowed_fd(other, PollFlags::IN));
        sleep(&mut fds, most);
        for (ready, fd) in self.ready.iter_mut().zip(&fds) {
            *ready = !fd.revents().is_empty();
        }
    }
}
