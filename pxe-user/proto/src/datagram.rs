//! Converts frames to datagrams and back: Ethernet with at most two VLAN tags, IPv4 without options, UDP.
//!
//! This module parses each frame in full, whatever the kernel's filter has checked. It does not verify UDP
//! checksums: a frame from a socket of this host arrives over veth with a partial checksum, and the link's
//! own checksum was correct. Frames that it writes always have complete checksums.

use std::net::{Ipv4Addr, SocketAddrV4};

use pxe_common::wire;

use crate::checksum::Sum;
use crate::mac::Mac;

/// Largest length of the headers in front of a payload, in bytes: Ethernet, two VLAN tags, IPv4 and UDP.
pub const HEADERS_MAX: usize =
    wire::ETH_LEN + wire::MAX_VLAN_TAGS * wire::VLAN_LEN + wire::IPV4_LEN + wire::UDP_LEN;

/// How a reply reaches a client: the neighbour that sent the request's frame, and the frame's VLAN tags. pxed
/// never uses ARP for this.
///
/// On plain UDP sockets the kernel finds the route, and this value is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Source of the request's frame: the client, or the router in front of it. Zeros if the datapath does
    /// not show it.
    pub peer: Mac,
    /// TPID and TCI of each VLAN tag, outermost first. An unused tag is 0.
    tags: [[u8; wire::VLAN_LEN]; wire::MAX_VLAN_TAGS],
}

impl Link {
    /// A link to `peer` without VLAN tags.
    pub fn untagged(peer: Mac) -> Self {
        Self { peer, tags: Default::default() }
    }

    /// A link to `peer` with these VLAN tags (TPID and TCI of each), outermost first. `None` if there are
    /// more tags than [`wire::MAX_VLAN_TAGS`].
    pub fn tagged(peer: Mac, tags: &[[u8; wire::VLAN_LEN]]) -> Option<Self> {
        let mut link = Self::untagged(peer);
        link.tags.get_mut(..tags.len())?.copy_from_slice(tags);
        Some(link)
    }

    /// The link to everybody in the client's network.
    #[must_use]
    pub fn to_all(self) -> Self {
        Self { peer: Mac([0xff; 6]), ..self }
    }

    /// The VLAN identifier in the innermost tag; `None` if the frame had no tag.
    pub fn vlan(&self) -> Option<u16> {
        self.tags().last().map(|[_, _, high, low]| u16::from_be_bytes([high & 0x0f, *low]))
    }

    /// The neighbour that sent the frame; `None` if the datapath does not show it.
    pub fn neighbour(&self) -> Option<Mac> {
        (self.peer != Mac::default()).then_some(self.peer)
    }

    /// TPID and TCI of each VLAN tag, outermost first.
    pub fn tags(&self) -> impl Iterator<Item = &[u8; wire::VLAN_LEN]> {
        self.tags.iter().take_while(|tag| tag[0] != 0)
    }
}

/// A UDP datagram, and how a reply to it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// How a reply reaches the sender.
    pub link: Link,
    /// The sender's address and port.
    pub from: SocketAddrV4,
    /// The address and port that the sender used: pxed's address or a broadcast address.
    pub to: SocketAddrV4,
    /// The UDP payload.
    pub payload: &'a [u8],
}

/// Why a frame contains no datagram that pxed can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadFrame {
    /// The frame ends before the length that its headers state.
    Truncated,
    /// Not IPv4, IPv4 with options, or a fragment.
    NotPlainIpv4,
    /// Not UDP.
    NotUdp,
}

impl<'a> Datagram<'a> {
    /// Parses a frame.
    ///
    /// # Errors
    /// [`BadFrame`]. The function never reads beyond the end of the frame.
    #[inline]
    pub fn parse(frame: &'a [u8]) -> Result<Self, BadFrame> {
        let (link, ip) = parse_ethernet(frame)?;
        let header: &[u8; wire::IPV4_LEN] = ip.first_chunk().ok_or(BadFrame::Truncated)?;
        let be16 = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        if header[0] != wire::IPV4_VERSION_IHL || be16(wire::IPV4_FRAGMENT) & wire::IPV4_FRAGMENT_MASK != 0 {
            return Err(BadFrame::NotPlainIpv4);
        }
        if header[wire::IPV4_PROTOCOL] != wire::PROTOCOL_UDP {
            return Err(BadFrame::NotUdp);
        }
        // The lengths come from the headers, because short frames are padded.
        let total = usize::from(be16(wire::IPV4_TOTAL_LENGTH));
        let udp = ip.get(wire::IPV4_LEN..total).ok_or(BadFrame::Truncated)?;
        let ports: &[u8; wire::UDP_LEN] = udp.first_chunk().ok_or(BadFrame::Truncated)?;
        let length = usize::from(u16::from_be_bytes([ports[4], ports[5]]));
        let payload = udp.get(wire::UDP_LEN..length).ok_or(BadFrame::Truncated)?;
        let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
        Ok(Self {
            link,
            from: SocketAddrV4::new(address(wire::IPV4_SOURCE), port(0)),
            to: SocketAddrV4::new(address(wire::IPV4_DESTINATION), port(2)),
            payload,
        })
    }
}

fn parse_ethernet(frame: &[u8]) -> Result<(Link, &[u8]), BadFrame> {
    let header: &[u8; wire::ETH_TYPE] = frame.first_chunk().ok_or(BadFrame::Truncated)?;
    let mut peer = Mac::default();
    peer.0.copy_from_slice(&header[6..12]);
    let mut link = Link::untagged(peer);
    let mut rest = &frame[wire::ETH_TYPE..];
    for tag in &mut link.tags {
        let Some(&bytes) = rest.first_chunk::<{ wire::VLAN_LEN }>() else { break };
        let tpid = u16::from_be_bytes([bytes[0], bytes[1]]);
        if tpid != wire::TPID_CUSTOMER && tpid != wire::TPID_SERVICE {
            break;
        }
        *tag = bytes;
        rest = &rest[wire::VLAN_LEN..];
    }
    let (ethertype, ip) = rest.split_first_chunk::<2>().ok_or(BadFrame::Truncated)?;
    if u16::from_be_bytes(*ethertype) != wire::ETHERTYPE_IPV4 {
        return Err(BadFrame::NotPlainIpv4);
    }
    Ok((link, ip))
}

/// Writes a frame with one datagram into `frame`. Returns the frame's length in bytes, or 0 if it does not
/// fit.
///
/// The payload is `head` followed by `body`. The length of `head` must be even: it is the header of a DATA
/// packet, with the block number, or empty.
///
/// Routers may fragment the packet. The block size fits this interface, but a client never learns that a
/// network on the way has a smaller MTU (a tunnel, PPPoE). With Don't Fragment it would receive nothing.
/// EDK2, iPXE and PXELINUX reassemble fragments.
pub fn write_frame(
    frame: &mut [u8],
    own: Mac,
    link: &Link,
    from: SocketAddrV4,
    to: SocketAddrV4,
    head: &[u8],
    body: &[u8],
) -> usize {
    let udp_len = wire::UDP_LEN + head.len() + body.len();
    let mut at = write_ethernet(frame, own, link);
    let total = at + wire::IPV4_LEN + udp_len;
    let (Ok(ip_len), Ok(udp_len)) = (u16::try_from(wire::IPV4_LEN + udp_len), u16::try_from(udp_len)) else {
        return 0;
    };
    if at == 0 || frame.len() < total {
        return 0;
    }
    let payload = Sum::of(head).and(Sum::of(body));
    let udp = udp_header(udp_len, from, to, payload);
    let ip = ipv4_header(ip_len, *from.ip(), *to.ip(), identification(head, &udp));
    frame[at..at + wire::IPV4_LEN].copy_from_slice(&ip);
    at += wire::IPV4_LEN;
    frame[at..at + wire::UDP_LEN].copy_from_slice(&udp);
    at += wire::UDP_LEN;
    frame[at..at + head.len()].copy_from_slice(head);
    at += head.len();
    frame[at..total].copy_from_slice(body);
    total
}

/// Writes the Ethernet addresses, the VLAN tags and the EtherType of IPv4. Returns the offset behind them, or
/// 0 if there is no room.
fn write_ethernet(frame: &mut [u8], own: Mac, link: &Link) -> usize {
    if frame.len() < HEADERS_MAX {
        return 0;
    }
    frame[..6].copy_from_slice(&link.peer.0);
    frame[6..12].copy_from_slice(&own.0);
    let mut at = wire::ETH_TYPE;
    for tag in link.tags() {
        frame[at..at + wire::VLAN_LEN].copy_from_slice(tag);
        at += wire::VLAN_LEN;
    }
    frame[at..at + 2].copy_from_slice(&wire::ETHERTYPE_IPV4.to_be_bytes());
    at + 2
}

/// Returns the identification by which fragments are reassembled (RFC 6864, section 4.3). For a DATA packet
/// it is the block number, so the blocks of a window differ, and a retransmitted block has the same number as
/// the first. For other packets it is the UDP checksum, which depends on their content.
fn identification(head: &[u8], udp: &[u8; wire::UDP_LEN]) -> [u8; 2] {
    match *head {
        [_, _, high, low] => [high, low],
        _ => [udp[6], udp[7]],
    }
}

fn ipv4_header(total: u16, from: Ipv4Addr, to: Ipv4Addr, id: [u8; 2]) -> [u8; wire::IPV4_LEN] {
    const TTL: u8 = 64;
    let mut header = [0; wire::IPV4_LEN];
    header[0] = wire::IPV4_VERSION_IHL;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[4..6].copy_from_slice(&id);
    header[8] = TTL;
    header[9] = wire::PROTOCOL_UDP;
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let checksum = Sum::of(&header).finish();
    header[10..12].copy_from_slice(&checksum);
    header
}

fn udp_header(length: u16, from: SocketAddrV4, to: SocketAddrV4, payload: Sum) -> [u8; wire::UDP_LEN] {
    let mut header = [0; wire::UDP_LEN];
    header[..2].copy_from_slice(&from.port().to_be_bytes());
    header[2..4].copy_from_slice(&to.port().to_be_bytes());
    header[4..6].copy_from_slice(&length.to_be_bytes());
    // The pseudo header of RFC 768: both addresses, the protocol, and the length.
    let mut pseudo = [0; 12];
    pseudo[..4].copy_from_slice(&from.ip().octets());
    pseudo[4..8].copy_from_slice(&to.ip().octets());
    pseudo[9] = wire::PROTOCOL_UDP;
    pseudo[10..12].copy_from_slice(&length.to_be_bytes());
    let checksum = Sum::of(&pseudo).and(Sum::of(&header)).and(payload).finish();
    // RFC 768: 0 means that there is no checksum, so a computed 0 is sent as all ones.
    let checksum = if checksum == [0, 0] { [0xff, 0xff] } else { checksum };
    header[6..8].copy_from_slice(&checksum);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: Mac = Mac([0x52, 0x54, 0, 0x99, 0xfe, 2]);
    const PEER: Mac = Mac([0x52, 0x54, 0, 0x99, 0, 0x10]);

    fn from() -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 2), 61000)
    }

    fn to() -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 100), 2070)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            head in proptest::collection::vec(any::<u8>(), 0..3).prop_map(|v| v.repeat(2)),
            body in proptest::collection::vec(any::<u8>(), 0..1468),
            tags in 0usize..=2,
            padding in 0usize..20,
        ) {
            let mut link = Link::untagged(PEER);
            link.tags[..tags].fill([0x81, 0, 0, 42]);
            let mut frame = [0; 2048];
            let len = write_frame(&mut frame, OWN, &link, from(), to(), &head, &body);
            prop_assert_eq!(len, HEADERS_MAX - 8 + 4 * tags + head.len() + body.len());
            let datagram = Datagram::parse(&frame[..len + padding]).unwrap();
            // The peer of a parsed frame is its source, which is pxed's own address in a frame that pxed has
            // written.
            prop_assert_eq!(datagram.link, Link { peer: OWN, ..link });
            prop_assert_eq!((datagram.from, datagram.to), (from(), to()));
            prop_assert_eq!(datagram.payload, [head, body].concat());
        }

        #[test]
        fn any_bytes_are_survived(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Datagram::parse(&frame);
        }

        #[test]
        fn damaged_frames_are_survived(at in 0usize..60, value in any::<u8>(), cut in 0usize..80) {
            let mut frame = [0; 128];
            let len = write_frame(&mut frame, OWN, &Link::untagged(PEER), from(), to(), b"abcd", b"efg");
            frame[at] = value;
            if let Ok(datagram) = Datagram::parse(&frame[..len.min(cut)]) {
                prop_assert!(datagram.payload.len() <= cut);
            }
        }
    }

    #[test]
    fn both_checksums_are_right() {
        let mut frame = [0; 128];
        let len = write_frame(&mut frame, OWN, &Link::untagged(PEER), from(), to(), &[0, 3, 0, 1], b"odd");
        assert_eq!(Sum::of(&frame[14..34]).finish(), [0, 0]);
        let mut pseudo = frame[26..34].to_vec();
        pseudo.extend([0, 17, 0, 15]);
        assert_eq!(Sum::of(&pseudo).and(Sum::of(&frame[34..len])).finish(), [0, 0]);
    }

    /// Otherwise no block would pass a router with a smaller MTU behind it, or fragments of two blocks would
    /// be reassembled into one.
    #[test]
    fn routers_may_fragment_blocks_which_are_told_apart() {
        let mut frame = [0; 1600];
        let mut ip = |head: &[u8], body: &[u8]| {
            write_frame(&mut frame, OWN, &Link::untagged(PEER), from(), to(), head, body);
            frame[14..34].to_vec()
        };
        for block in [1u16, 2, 65535] {
            let [high, low] = block.to_be_bytes();
            let header = ip(&[0, 3, high, low], &[0; 1468]);
            assert_eq!(header[4..8], [high, low, 0, 0], "block {block}: its number, and no flag");
        }
        let [one, other] = [b"one", b"two"].map(|body| ip(&[], body));
        assert_eq!(one[6..8], [0, 0]);
        assert_ne!(one[4..6], other[4..6]);
    }

    #[test]
    fn a_frame_that_does_not_fit_is_not_written() {
        let mut frame = [0; 100];
        assert_eq!(write_frame(&mut frame, OWN, &Link::untagged(PEER), from(), to(), &[], &[0; 100]), 0);
    }
}
