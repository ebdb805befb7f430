//! Builds frames for the classifier, with the code that builds pxed's own frames, and damages them.

use std::net::{Ipv4Addr, SocketAddrV4};

use pxe_common::abi::{Config, dhcp_mode};
use pxe_proto::datagram::{Link, write_frame};
use pxe_proto::mac::Mac;

/// The daemon's address in all tests.
pub const OWN: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// The client's address in all tests.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 100);
/// The first TID of [`config`].
pub const TID: u16 = 61000;

/// The configuration of the XDP program in all tests.
pub fn config() -> Config {
    Config {
        address: OWN.octets(),
        broadcast: [10, 99, 0, 255],
        dhcp_mode: dhcp_mode::REDIRECT,
        tftp: 1,
        tid_first: TID,
        tid_last: TID + 999,
        offload: 0,
        ifindex: 1,
        ..Config::default()
    }
}

/// An untagged frame with a datagram.
pub fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 2048];
    let (from, to) = (SocketAddrV4::new(from.0, from.1), SocketAddrV4::new(to.0, to.1));
    let source = Mac([0x52, 0x54, 0, 0x99, 0, 0x10]);
    let link = Link::untagged(Mac([0xff; 6]));
    let len = write_frame(&mut frame, source, &link, from, to, &[], payload);
    assert!(len > 0, "the payload does not fit");
    frame.truncate(len);
    frame
}

/// A frame with a client's broadcast to port 67.
pub fn broadcast_67(payload: &[u8]) -> Vec<u8> {
    udp((Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67), payload)
}

/// The frame with one more VLAN tag on the outside.
pub fn tagged(frame: &[u8], tpid: u16, vlan: u16) -> Vec<u8> {
    let [a, b] = tpid.to_be_bytes();
    let [c, d] = vlan.to_be_bytes();
    [&frame[..12], &[a, b, c, d], &frame[12..]].concat()
}

/// The frame with another byte at `at`.
pub fn with(frame: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at] = byte;
    frame
}

/// A recorded DHCP message of real firmware, by its name in `tests/packets/dhcp`.
pub fn golden(name: &str) -> Vec<u8> {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../packets/dhcp").join(format!("{name}.bin"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A BOOTREQUEST with these options after the cookie.
pub fn bootp(options: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 236];
    message[..3].copy_from_slice(&[1, 1, 6]);
    message.extend([99, 130, 83, 99]);
    message.extend_from_slice(options);
    message
}
