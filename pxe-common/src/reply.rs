//! Builds the IPv4 and UDP headers of a DATA packet from those of the ACK that it answers. The kernel
//! programs use it for the offload.

use crate::wire;

/// Length of an IPv4 header without options and a UDP header, in bytes.
pub const HEADERS_LEN: usize = wire::IPV4_LEN + wire::UDP_LEN;
/// Length of an ACK in bytes (RFC 1350, section 5).
pub const ACK_LEN: usize = 4;
/// Opcode of an ACK (RFC 1350, section 5).
const OPCODE_ACK: u16 = 4;

/// A TFTP ACK with its IPv4 and UDP headers, without the Ethernet header and the VLAN tags.
#[derive(Clone, Copy)]
pub struct Ack(pub [u8; HEADERS_LEN + ACK_LEN]);

impl Ack {
    /// Returns the block number if this is an ACK with a valid and complete checksum, or with no checksum.
    ///
    /// A packet from a socket of this host arrives over a veth or tap with a partial checksum, which the
    /// network card that sends it should complete. If the program wrote its answer into the same buffer, the
    /// card would "complete" the answer's checksum too, and so make it wrong. User space handles such
    /// packets, and packets with a wrong checksum.
    #[inline(always)]
    pub fn block(&self) -> Option<u16> {
        let udp_len = u16::from_be_bytes([self.0[24], self.0[25]]) as usize;
        let opcode = u16::from_be_bytes([self.0[28], self.0[29]]);
        if udp_len != wire::UDP_LEN + ACK_LEN || opcode != OPCODE_ACK || !self.has_whole_checksum() {
            return None;
        }
        Some(u16::from_be_bytes([self.0[30], self.0[31]]))
    }

    #[inline(always)]
    fn has_whole_checksum(&self) -> bool {
        // RFC 768: the sender computed no checksum.
        if self.0[26] == 0 && self.0[27] == 0 {
            return true;
        }
        let mut sum = pseudo_header((wire::UDP_LEN + ACK_LEN) as u16);
        let mut at = wire::IPV4_SOURCE;
        while at < HEADERS_LEN + ACK_LEN {
            sum += word(&self.0, at);
            at += 2;
        }
        fold(sum) == u16::MAX
    }

    /// Returns the headers of a DATA packet with this block number and `len` bytes of UDP payload, whose
    /// 16-bit words have the one's complement sum `sum`.
    ///
    /// User space writes the same bytes. `pxe-user/proto/src/datagram.rs` says why routers may fragment the
    /// packet.
    #[inline(always)]
    pub fn answer(&self, number: u16, len: u16, sum: u16) -> [u8; HEADERS_LEN] {
        let ack = &self.0;
        let [id_high, id_low] = number.to_be_bytes();
        let [ip_high, ip_low] = (len + HEADERS_LEN as u16).to_be_bytes();
        let udp_len = len + wire::UDP_LEN as u16;
        let [udp_high, udp_low] = udp_len.to_be_bytes();
        let mut out = [
            wire::IPV4_VERSION_IHL,
            0,
            ip_high,
            ip_low,
            id_high,
            id_low,
            0,
            0,
            64,
            wire::PROTOCOL_UDP,
            0,
            0,
            ack[16],
            ack[17],
            ack[18],
            ack[19],
            ack[12],
            ack[13],
            ack[14],
            ack[15],
            ack[22],
            ack[23],
            ack[20],
            ack[21],
            udp_high,
            udp_low,
            0,
            0,
        ];
        let (mut ip, mut udp) = (0, pseudo_header(udp_len) + sum as u32);
        let mut at = 0;
        while at < wire::IPV4_LEN {
            ip += word(&out, at);
            at += 2;
        }
        at = wire::IPV4_SOURCE;
        while at < HEADERS_LEN {
            udp += word(&out, at);
            at += 2;
        }
        [out[10], out[11]] = (!fold(ip)).to_ne_bytes();
        // RFC 768: 0 means that there is no checksum, so a computed 0 is sent as all ones.
        let udp = !fold(udp);
        [out[26], out[27]] = (if udp == 0 { u16::MAX } else { udp }).to_ne_bytes();
        out
    }
}

/// Returns the sum of the pseudo header (RFC 768) without its addresses: the protocol and the length.
#[inline(always)]
fn pseudo_header(udp_len: u16) -> u32 {
    u16::from_ne_bytes([0, wire::PROTOCOL_UDP]) as u32 + udp_len.to_be() as u32
}

/// Returns a 16-bit word in memory byte order. The byte order does not change a one's complement sum (RFC
/// 1071, section 2, B).
#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u32 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]]) as u32
}

/// Adds the end-around carry, for sums of fewer than 65536 words.
#[inline(always)]
fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + sum) as u16
}
