//! The fixed part of a BOOTP message: the offsets of its fields, in bytes (RFC 951 section 3, RFC 2131 figure
//! 1).

use std::net::Ipv4Addr;
use std::ops::Range;

pub(super) const OP: usize = 0;
pub(super) const HTYPE: usize = 1;
pub(super) const HLEN: usize = 2;
pub(super) const XID: Range<usize> = 4..8;
pub(super) const SECS: Range<usize> = 8..10;
pub(super) const FLAGS: Range<usize> = 10..12;
pub(super) const CIADDR: Range<usize> = 12..16;
pub(super) const YIADDR: Range<usize> = 16..20;
pub(super) const SIADDR: Range<usize> = 20..24;
pub(super) const GIADDR: Range<usize> = 24..28;
pub(super) const CHADDR: Range<usize> = 28..44;
pub(super) const SNAME: Range<usize> = 44..108;
pub(super) const FILE: Range<usize> = 108..236;
/// Offset of the magic cookie, which is the end of the BOOTP header.
pub(super) const COOKIE_AT: usize = 236;
/// Offset of the first option.
pub(super) const OPTIONS_AT: usize = 240;

/// The magic cookie (RFC 2132 section 2).
pub(super) const COOKIE: [u8; 4] = [99, 130, 83, 99];
pub(super) const BOOTREQUEST: u8 = 1;
pub(super) const BOOTREPLY: u8 = 2;
/// The only flag: the client cannot receive unicast before it has an address (RFC 2131 section 4.1).
pub(super) const BROADCAST: u16 = 0x8000;

/// The header and the cookie of a message.
pub(super) type Header = [u8; OPTIONS_AT];

/// Copies a field. `range` is one of the constants above, and `N` is its length.
pub(super) fn field<const N: usize>(header: &Header, range: Range<usize>) -> [u8; N] {
    debug_assert_eq!(range.len(), N);
    std::array::from_fn(|i| header[range.start + i])
}

pub(super) fn address(header: &Header, range: Range<usize>) -> Ipv4Addr {
    Ipv4Addr::from(field::<4>(header, range))
}
