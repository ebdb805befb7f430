//! The IPv4 and UDP headers of an answer, made from those of the question.

use crate::wire;

/// IPv4 without options, and UDP.
pub const HEADERS_LEN: usize = wire::IPV4_LEN + wire::UDP_LEN;
/// Length of an ACK (RFC 1350, section 5).
pub const ACK_LEN: usize = 4;
/// Opcode of an ACK (RFC 1350, section 5).
const OPCODE_ACK: u16 = 4;

/// A TFTP ACK as it stands behind the Ethernet header and the tags.
#[derive(Clone, Copy)]
pub struct Ack(pub [u8; HEADERS_LEN + ACK_LEN]);

impl Ack {
    /// The block's number, if this is an ACK with a full checksum.
    ///
    /// A packet from a socket of this host comes over a veth or tap with half a checksum, to be completed by the card
    /// that sends it. An answer in the same buffer would be "completed" as well, and so damaged: such packets, and
    /// those that are damaged already, are for user space.
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
        // RFC 768: the sender made none.
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

    /// The headers of DATA with this block's number and `len` bytes of payload, whose words have the one's complement sum
    /// `sum`: the same bytes as user space writes (`pxe-user/proto/src/datagram.rs` says why routers may fragment it).
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
        // RFC 768: 0 means no checksum, so a computed 0 is sent as all ones.
        let udp = !fold(udp);
        [out[26], out[27]] = (if udp == 0 { u16::MAX } else { udp }).to_ne_bytes();
        out
    }
}

/// Sum of what the pseudo header of RFC 768 has beside the addresses: the protocol and the length.
#[inline(always)]
fn pseudo_header(udp_len: u16) -> u32 {
    u16::from_ne_bytes([0, wire::PROTOCOL_UDP]) as u32 + udp_len.to_be() as u32
}

/// A 16-bit word as it lies in memory: one's complement sums do not mind (RFC 1071, section 2, B).
#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u32 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]]) as u32
}

/// The end-around carry, for sums of fewer than 65536 words.
#[inline(always)]
fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + sum) as u16
}
