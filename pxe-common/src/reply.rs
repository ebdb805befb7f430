//! Builds the IPv4 and UDP headers of a DATA packet from those of the ACK that it answers. The kernel
//! programs use it for the offload.

use crate::wire;

/// Length of an IPv4 header without options and a UDP header, in bytes.
pub const HEADERS_LEN: usize = wire::IPV4_LEN + wire::UDP_LEN;
/// Length of an ACK in bytes (RFC 1350, section 5).
pub const ACK_LEN: usize = 4;
/// Opcode of an ACK (RFC 1350, section 5).
const OPCODE_ACK: u16 = 4;

/// Number of 32-bit words in [`HEADERS_LEN`].
pub const HEADER_WORDS: usize = HEADERS_LEN / 4;
/// Number of 32-bit words in an ACK with its IPv4 and UDP headers.
pub const ACK_WORDS: usize = (HEADERS_LEN + ACK_LEN) / 4;

/// A TFTP ACK with its IPv4 and UDP headers, without the Ethernet header and the VLAN tags: words in memory
/// byte order.
#[derive(Clone, Copy)]
pub struct Ack(pub [u32; ACK_WORDS]);

impl Ack {
    /// Returns the block number if this is an ACK with a valid and complete checksum, or with no checksum.
    ///
    /// A packet from a socket of this host arrives over a veth or tap with a partial checksum, which the
    /// network card that sends it should complete. If the program wrote its answer into the same buffer, the
    /// card would "complete" the answer's checksum too, and so make it wrong. User space handles such
    /// packets, and packets with a wrong checksum.
    #[inline(always)]
    pub fn block(&self) -> Option<u16> {
        let [.., last, tftp] = self.0;
        let ([a, b, ..], [c, d, e, f]) = (last.to_ne_bytes(), tftp.to_ne_bytes());
        let (udp_len, opcode) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        if udp_len as usize != wire::UDP_LEN + ACK_LEN || opcode != OPCODE_ACK || !self.has_whole_checksum() {
            return None;
        }
        Some(u16::from_be_bytes([e, f]))
    }

    #[inline(always)]
    fn has_whole_checksum(&self) -> bool {
        let [_, _, _, source, destination, ports, last, tftp] = self.0;
        let [_, _, c, d] = last.to_ne_bytes();
        // RFC 768: the sender computed no checksum.
        if c == 0 && d == 0 {
            return true;
        }
        let sum = pseudo_header((wire::UDP_LEN + ACK_LEN) as u16);
        fold(sum + sum_of(&[source, destination, ports, last, tftp])) == u16::MAX
    }

    /// Returns the headers of a DATA packet with this block number and `len` bytes of UDP payload, whose
    /// 16-bit words have the one's complement sum `sum`. They are words in memory byte order.
    ///
    /// User space writes the same bytes. `pxe-user/proto/src/datagram.rs` says why routers may fragment the
    /// packet.
    #[inline(always)]
    pub fn answer(&self, number: u16, len: u16, sum: u16) -> [u32; HEADER_WORDS] {
        let [_, _, _, source, destination, ports, _, _] = self.0;
        let [id_high, id_low] = number.to_be_bytes();
        let [ip_high, ip_low] = (len + HEADERS_LEN as u16).to_be_bytes();
        let udp_len = len + wire::UDP_LEN as u16;
        let [udp_high, udp_low] = udp_len.to_be_bytes();
        let word = u32::from_ne_bytes;
        let first = word([wire::IPV4_VERSION_IHL, 0, ip_high, ip_low]);
        let second = word([id_high, id_low, 0, 0]);
        let third = [64, wire::PROTOCOL_UDP, 0, 0];
        let addresses = sum_of(&[source, destination]);
        let ip = !fold(addresses + sum_of(&[first, second, word(third)]));
        // The lengths are in the pseudo header, too.
        let lengths = word([udp_high, udp_low, 0, 0]);
        let udp = addresses + pseudo_header(udp_len) + sum_of(&[ports, lengths]) + sum as u64;
        // RFC 768: 0 means that there is no checksum, so a computed 0 is sent as all ones.
        let udp = match !fold(udp) {
            0 => u16::MAX,
            udp => udp,
        };
        let ([a, b], [c, d]) = (ip.to_ne_bytes(), udp.to_ne_bytes());
        [
            first,
            second,
            word([third[0], third[1], a, b]),
            destination,
            source,
            ports.rotate_left(16),
            word([udp_high, udp_low, c, d]),
        ]
    }
}

/// Returns the sum of the pseudo header (RFC 768) without its addresses: the protocol and the length.
#[inline(always)]
fn pseudo_header(udp_len: u16) -> u64 {
    u16::from_ne_bytes([0, wire::PROTOCOL_UDP]) as u64 + udp_len.to_be() as u64
}

/// Returns the sum of words in memory byte order. Neither their order nor their width changes a one's
/// complement sum (RFC 1071, section 2, B and C).
#[inline(always)]
fn sum_of(words: &[u32]) -> u64 {
    words.iter().fold(0, |sum, word| sum + *word as u64)
}

/// Adds the end-around carries, for sums of fewer than 65536 words of 32 bits.
#[inline(always)]
fn fold(sum: u64) -> u16 {
    // Below 2^48, then below 2^33, 2^18 and 2^17.
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + sum) as u16
}
