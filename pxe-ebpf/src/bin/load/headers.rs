//! The headers of a TFTP packet, from Ethernet to the block number, without VLAN tags and IPv4 options.

use pxe_common::wire;

/// TFTP opcodes (RFC 1350, section 5; RFC 2347).
pub const RRQ: [u8; 2] = [0, 1];
pub const DATA: [u8; 2] = [0, 3];
pub const ACK: [u8; 2] = [0, 4];
/// Length of the opcode and the block number, in bytes.
pub const TFTP_LEN: usize = 4;
/// Length of all headers, in bytes.
pub const LEN: usize = size_of::<Headers>();

/// All headers. Every field is in network byte order, so the structure has an alignment of 1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Headers {
    to_mac: [u8; 6],
    from_mac: [u8; 6],
    ether_type: [u8; 2],
    version_ihl: u8,
    tos: u8,
    total_len: [u8; 2],
    id: [u8; 2],
    fragment: [u8; 2],
    ttl: u8,
    protocol: u8,
    ip_sum: [u8; 2],
    pub from: [u8; 4],
    pub to: [u8; 4],
    pub from_port: [u8; 2],
    pub to_port: [u8; 2],
    udp_len: [u8; 2],
    udp_sum: [u8; 2],
    pub opcode: [u8; 2],
    pub block: [u8; 2],
}

impl Headers {
    /// Whether this is a UDP packet with TFTP's header.
    #[inline(always)]
    pub fn is_udp(&self) -> bool {
        self.ether_type == wire::ETHERTYPE_IPV4.to_be_bytes()
            && self.version_ihl == wire::IPV4_VERSION_IHL
            && self.protocol == wire::PROTOCOL_UDP
    }

    /// Bytes behind opcode and block number, as the UDP header says.
    #[inline(always)]
    pub fn data_len(&self) -> usize {
        (u16::from_be_bytes(self.udp_len) as usize).wrapping_sub(wire::UDP_LEN + TFTP_LEN)
    }

    #[inline(always)]
    pub fn block(&self) -> u16 {
        u16::from_be_bytes(self.block)
    }

    /// Addresses the packet to its sender, with so many bytes behind opcode and block number, and without a UDP
    /// checksum (RFC 768).
    #[inline(always)]
    pub fn turn_round(&mut self, data_len: u16) {
        core::mem::swap(&mut self.to_mac, &mut self.from_mac);
        core::mem::swap(&mut self.to, &mut self.from);
        core::mem::swap(&mut self.to_port, &mut self.from_port);
        let udp_len = data_len + (wire::UDP_LEN + TFTP_LEN) as u16;
        let total_len = (udp_len + wire::IPV4_LEN as u16).to_be_bytes();
        // The addresses only change places, so the sum changes by the length alone (RFC 1624, equation 3).
        let sum = !word(self.ip_sum) as u16 as u32 + !word(self.total_len) as u16 as u32 + word(total_len);
        self.ip_sum = (!fold(sum)).to_ne_bytes();
        self.total_len = total_len;
        self.udp_len = udp_len.to_be_bytes();
        self.udp_sum = [0; 2];
    }

    /// Writes the UDP checksum of a packet that ends behind the block number.
    #[inline(always)]
    pub fn write_udp_sum(&mut self) {
        let [a, b, c, d] = self.from;
        let [e, f, g, h] = self.to;
        let sum = word([a, b])
            + word([c, d])
            + word([e, f])
            + word([g, h])
            + word([0, wire::PROTOCOL_UDP])
            + 2 * word(self.udp_len)
            + word(self.from_port)
            + word(self.to_port)
            + word(self.opcode)
            + word(self.block);
        let sum = !fold(sum);
        // RFC 768: 0 means that there is no checksum.
        self.udp_sum = (if sum == 0 { u16::MAX } else { sum }).to_ne_bytes();
    }
}

/// A 16-bit word in memory byte order, which does not change a one's complement sum (RFC 1071, section 2, B).
#[inline(always)]
fn word(bytes: [u8; 2]) -> u32 {
    u16::from_ne_bytes(bytes) as u32
}

/// Adds the end-around carry.
#[inline(always)]
fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + sum) as u16
}

/// Returns the headers at the start of a frame; `None` if the frame is shorter.
///
/// The caller may not use the reference behind a helper that moves the frame.
#[inline(always)]
pub fn of<'a>(data: usize, data_end: usize) -> Option<&'a mut Headers> {
    if data + LEN > data_end {
        return None;
    }
    // SAFETY: the memory lies between `data` and `data_end`, the structure has an alignment of 1, and any bits
    // are valid.
    Some(unsafe { &mut *(data as *mut Headers) })
}
