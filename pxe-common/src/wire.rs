//! Offsets and numbers of the headers that the classifier and user space both read.
//!
//! Each offset is in bytes from the start of its header.

/// Length of an Ethernet II header without VLAN tags, in bytes.
pub const ETH_LEN: usize = 14;
/// Offset of the source address in an Ethernet header.
pub const ETH_SOURCE: usize = 6;
/// Offset of the EtherType in an Ethernet II header without VLAN tags.
pub const ETH_TYPE: usize = 12;
/// Length of one IEEE 802.1Q tag (TPID and TCI), in bytes.
pub const VLAN_LEN: usize = 4;
/// Largest number of VLAN tags that are followed (802.1ad: a service tag and a customer tag).
pub const MAX_VLAN_TAGS: usize = 2;
/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// TPID of a customer tag (IEEE 802.1Q).
pub const TPID_CUSTOMER: u16 = 0x8100;
/// TPID of a service tag (IEEE 802.1ad).
pub const TPID_SERVICE: u16 = 0x88a8;

/// Length of an IPv4 header without options (RFC 791, section 3.1), in bytes. Packets with IPv4 options are
/// not accepted.
pub const IPV4_LEN: usize = 20;
/// First byte of an IPv4 header without options: version 4, five 32-bit words.
pub const IPV4_VERSION_IHL: u8 = 0x45;
/// Offset of Total Length in an IPv4 header.
pub const IPV4_TOTAL_LENGTH: usize = 2;
/// Offset of Flags and Fragment Offset in an IPv4 header.
pub const IPV4_FRAGMENT: usize = 6;
/// Mask of More Fragments and Fragment Offset. If one of these bits is set, the packet is a fragment.
pub const IPV4_FRAGMENT_MASK: u16 = 0x3fff;
/// Offset of Protocol in an IPv4 header.
pub const IPV4_PROTOCOL: usize = 9;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// Offset of Source Address in an IPv4 header.
pub const IPV4_SOURCE: usize = 12;
/// Offset of Destination Address in an IPv4 header.
pub const IPV4_DESTINATION: usize = 16;

/// Length of a UDP header (RFC 768), in bytes.
pub const UDP_LEN: usize = 8;

/// BOOTP/DHCP server port (RFC 2131, section 4.1).
pub const PORT_DHCP_SERVER: u16 = 67;
/// BOOTP/DHCP client port (RFC 2131, section 4.1).
pub const PORT_DHCP_CLIENT: u16 = 68;
/// TFTP's port for requests (RFC 1350, section 4).
pub const PORT_TFTP: u16 = 69;
/// PXE boot server port (PXE specification 2.1, section 2.2).
pub const PORT_PXE: u16 = 4011;

/// Length of the fixed part of a BOOTP message, up to the magic cookie, in bytes (RFC 951; RFC 2131, section
/// 2).
pub const BOOTP_LEN: usize = 236;
/// Offset of secs, the seconds since the client began, in a BOOTP message (RFC 951, section 3).
pub const BOOTP_SECS: usize = 8;
/// Offset of giaddr, the relay's address, in a BOOTP message (RFC 951, section 3).
pub const BOOTP_GIADDR: usize = 24;
/// Offset of chaddr, the client's hardware address, in a BOOTP message (RFC 951, section 3).
pub const BOOTP_CHADDR: usize = 28;
/// The magic cookie in front of the options (RFC 2131, section 3).
pub const DHCP_COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Value of `op` for BOOTREQUEST.
pub const BOOTREQUEST: u8 = 1;

/// DHCP option codes (RFC 2132).
pub mod option {
    /// Pad: one byte, without a length.
    pub const PAD: u8 = 0;
    /// DHCP message type.
    pub const MESSAGE_TYPE: u8 = 53;
    /// Vendor class identifier.
    pub const CLASS: u8 = 60;
    /// End: all bytes after it are ignored.
    pub const END: u8 = 255;
}

/// DHCPDISCOVER in option 53 (RFC 2132, section 9.6).
pub const DHCP_DISCOVER: u8 = 1;
/// DHCPREQUEST in option 53 (RFC 2132, section 9.6).
pub const DHCP_REQUEST: u8 = 3;
