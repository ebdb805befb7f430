//! The socket datapath alone, without a daemon.

use std::net::{Ipv4Addr, SocketAddrV4};

use pxe_engine::worker::sockets::SocketPath;
use pxe_engine::worker::{Datapath as _, Received};
use pxe_load::pair::{ADDRESS, INTERFACE, PEER, Pair};
use pxe_nic::interface::Interface;
use pxe_nic::packet::PacketSocket;
use pxe_proto::datagram::{Link, write_frame};
use pxe_proto::mac::Mac;
use pxe_proto::tftp::table::TidPorts;

const TIDS: TidPorts = TidPorts { first: 20_000, count: 16 };
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 50, 1, 1);
/// Datagrams of transfers that always wait in the socket: more than the datapath takes in a turn.
const UNDER_WAY: usize = 200;

/// New requests are received while datagrams of transfers arrive all the time. Before, they waited for a pause in all
/// transfers.
#[test]
fn who_asks_is_heard_while_transfers_are_never_silent() {
    let _pair = Pair::new(1).unwrap();
    let (own, peer) = (Interface::read(INTERFACE).unwrap(), Interface::read(PEER).unwrap());
    let cable = PacketSocket::open(peer.index, 67).unwrap();
    let send = |from: u16, to: u16| {
        let (from, to) = (SocketAddrV4::new(CLIENT, from), SocketAddrV4::new(ADDRESS, to));
        let mut frame = [0; 2048];
        let len =
            write_frame(&mut frame, Mac(peer.mac), &Link::untagged(Mac(own.mac)), from, to, &[], &[0; 300]);
        assert!(cable.send(&frame[..len]));
    };
    let mut path = SocketPath::open(&own, ADDRESS, TIDS).unwrap();
    let tid = path.tids().first;
    (0..UNDER_WAY).for_each(|_| send(2070, tid));
    let mut heard = Vec::new();
    // New requests must arrive within some turns.
    for turn in 0..20 {
        if turn == 10 {
            // The contents do not matter for the sockets: one datagram each for DHCP, TFTP and the boot server.
            send(68, 67);
            send(2071, 69);
            send(4011, 4011);
        }
        let mut answered = 0;
        let received = path.receive(&mut |received, _| match received {
            Received::Datagram(datagram) if datagram.to.port() == tid => answered += 1,
            Received::Datagram(datagram) => heard.push(datagram.to.port()),
            Received::Bad(bad) => panic!("{bad:?}"),
        });
        assert!(received > 0, "turn {turn}: no datagrams of transfers arrived, so the test proves nothing");
        (0..answered).for_each(|_| send(2070, tid));
    }
    heard.sort_unstable();
    assert_eq!(heard, [67, 69, 4011]);
}
